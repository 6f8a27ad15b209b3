import type { Logger } from 'pino';
import type { ServerConfig } from '../setup/config.ts';
import type { Store } from '../store/store.ts';
import type { Clock } from '../time.ts';
import { staleReason } from './changes.ts';

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
  const look = () => {
    try {
      tellStale(store, config, clock().getTime());
    } catch (error) {
      logger.error({ err: error }, 'looking for attesters that went quiet failed');
    }
    const wait = (store.standings.nextDue() ?? Number.POSITIVE_INFINITY) - clock().getTime();
    timer = setTimeout(look, Math.min(Math.max(wait, MIN_MS), MAX_MS));
  };
  look();
  return () => clearTimeout(timer);
}

/** Tells every attester STALE whose time is over. */
function tellStale(store: Store, config: ServerConfig, now: number): void {
  const { staleSeconds } = config.attestation;
  for (const claim of store.standings.due(now, AT_ONCE)) {
    store.transaction(() => {
      const told = store.standings.get(claim);
      const result = store.results.latest(claim);
      if (told === undefined) return;
      store.standings.set(claim, { ...told, platform: 'STALE' }, undefined);
      const owner = store.claims.byNumber(claim);
      // Who is not admitted has no state that could end; evidence that came meanwhile has set another time.
      if (owner?.state !== 'admitted' || result === undefined) return;
      const change = { attester: owner.attester, from: told.platform, to: 'STALE' as const };
      const reasons = [staleReason(result.at, staleSeconds)];
      store.events.append(
        { type: 'attester.state', data: { ...change, result: result.digest, reasons } },
        now,
      );
    });
  }
}
