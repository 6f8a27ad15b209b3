import { refusal } from '@kallio/codec';
import type { State } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import type { ServerConfig } from '../setup/config.ts';
import type { Claim } from '../store/claims.ts';
import type { StoredResult, UnsignedResult } from '../store/results.ts';
import type { Standing } from '../store/standings.ts';
import type { Store } from '../store/store.ts';
import { isoTime } from '../time.ts';

/** Reasons that an event repeats; the result has all of them. */
const MAX_REASONS = 8;

/**
 * Tells what a result has changed, and notes when to look whether it has turned STALE. Call it in the transaction that stores the result:
 * no change is stored untold, and none is told that is not stored. False where there was nothing to tell.
 */
export function tellChanges(store: Store, config: ServerConfig, claim: Claim, result: StoredResult): boolean {
  const { at, digest, record } = result;
  const { attester } = claim;
  const told = store.standings.get(claim.claim);
  const { state, tier, reasons } = record.platform;
  const from = told?.platform ?? 'UNKNOWN';
  let changed = from !== state;
  if (changed) {
    store.events.append(
      {
        type: 'attester.state',
        data: {
          attester,
          from,
          to: state,
          result: digest,
          reasons: reasons.slice(0, MAX_REASONS),
          ...(tier === undefined ? {} : { tier }),
          ...(record.boot === undefined ? {} : { boot: record.boot }),
        },
      },
      at,
    );
  }
  const before = new Map(Object.entries(told?.instances ?? {}));
  const instances: Record<string, State> = Object.create(null);
  for (const [instance, now] of Object.entries(record.instances)) {
    instances[instance] = now.state;
    const was = before.get(instance) ?? 'GONE';
    before.delete(instance);
    if (was === now.state) continue;
    changed = true;
    const reasons = now.reasons.slice(0, MAX_REASONS);
    const change = { attester, instance, from: was, to: now.state, result: digest, reasons } as const;
    store.events.append({ type: 'instance.state', data: change }, at);
  }
  for (const [instance, was] of before) {
    changed = true;
    const change = { attester, instance, from: was, to: 'GONE' as const, result: digest, reasons: [] };
    store.events.append({ type: 'instance.state', data: change }, at);
  }
  const good = state === 'VERIFIED' || state === 'DEGRADED';
  const dueAt = good ? dueOf(config, at) : undefined;
  // The time to look only moves back when a clock was set: then it has to be written, or nobody would look in time.
  if (changed || told?.dueAt === undefined || dueAt === undefined || told.dueAt > dueAt) {
    store.standings.set(claim.claim, {
      platform: state,
      instances,
      ...(dueAt === undefined ? {} : { dueAt }),
    });
  }
  return changed;
}

/**
 * True where a result of a machine that is well says nothing that was not told already, and somebody will look in time
 * whether it has turned STALE: {@link tellChanges} has nothing to do then.
 */
export function isTold(
  told: Standing | undefined,
  config: ServerConfig,
  { at, record: { platform, instances } }: UnsignedResult,
): told is Required<Standing> {
  if (told?.dueAt === undefined || told.dueAt > dueOf(config, at)) return false;
  if (platform.state !== 'VERIFIED' || told.platform !== platform.state) return false;
  const names = Object.keys(instances);
  return (
    names.length === Object.keys(told.instances).length &&
    names.every(
      (name) => Object.hasOwn(told.instances, name) && told.instances[name] === instances[name]?.state,
    )
  );
}

/** When evidence of this time is not enough any more: the first millisecond that is too late. */
export function dueOf({ attestation }: Pick<ServerConfig, 'attestation'>, at: number): number {
  return at + attestation.staleSeconds * 1000 + 1;
}

/** The reason of a standing whose time is over. */
export function staleReason(lastEvidenceAt: number, staleSeconds: number) {
  return refusal(
    'RESULT_STALE' satisfies ServerCode,
    `The last evidence is of ${isoTime(lastEvidenceAt)}, more than ${staleSeconds} seconds ago.`,
  );
}
