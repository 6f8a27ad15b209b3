import type { Logger } from 'pino';
import type { ServerConfig } from '../setup/config.ts';
import type { Store } from '../store/store.ts';
import type { Clock } from '../time.ts';
import { dueOf, staleReason } from './changes.ts';

const MIN_MS = 20;
/** A clock may be set: it is looked at this often, whatever is due. */
const MAX_MS = 1_000;
const AT_ONCE = 256;

/**
 * Tells that an attester has turned STALE. What is due when stands in the store, so nothing is missed by a restart;
 * whoever asks for the attester works the same out from the time of its last evidence and does not wait for this.
 */
export function watchForStale(store: Store, config: ServerConfig, clock: Clock, logger: Logger): () => void {
  let timer: NodeJS.Timeout;
  const watch = () => {
    try {
      tellStale(store, config, clock().getTime());
    } catch (error) {
      logger.error({ err: error }, 'looking for attesters that went quiet failed');
    }
    const wait = (store.standings.nextDue() ?? Number.POSITIVE_INFINITY) - clock().getTime();
    timer = setTimeout(watch, Math.min(Math.max(wait, MIN_MS), MAX_MS));
  };
  watch();
  return () => clearTimeout(timer);
}

/** Tells every attester STALE whose time is over; where evidence has come since, notes when to look again. */
function tellStale(store: Store, config: ServerConfig, now: number): void {
  const due = store.standings.due(now, AT_ONCE);
  if (due.length === 0) return;
  store.transaction(() => {
    for (const claim of due) look(store, config, claim, now);
  });
}

function look(store: Store, config: ServerConfig, claim: number, now: number): void {
  const told = store.standings.get(claim);
  const last = store.results.lastOf(claim);
  if (told === undefined) return;
  const { platform, instances } = told;
  const dueAt = last === undefined ? now : dueOf(config, last.at);
  if (dueAt > now) {
    store.standings.set(claim, { platform, instances, dueAt });
    return;
  }
  store.standings.set(claim, { platform: 'STALE', instances });
  const owner = store.claims.byNumber(claim);
  // Who is not admitted has no state that could end.
  if (owner?.state !== 'admitted' || last === undefined) return;
  const change = { attester: owner.attester, from: platform, to: 'STALE' as const };
  const reasons = [staleReason(last.at, config.attestation.staleSeconds)];
  store.events.append({ type: 'attester.state', data: { ...change, result: last.digest, reasons } }, now);
}
