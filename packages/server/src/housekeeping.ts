import { expireSessions } from './sessions/end.ts';
import type { ServerConfig } from './setup/config.ts';
import type { Store } from './store/store.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/**
 * Ends what is over and forgets what nobody can ask for any more. Nothing depends on when this runs: every reader
 * compares times itself.
 */
export function tidy(store: Store, config: ServerConfig, now: Date): void {
  const time = now.getTime();
  expireSessions(store, now);
  store.spentNonces.prune(time);
  const before = time - config.retention.days * DAY_MS;
  // The reason why a challenge failed can be asked for during an hour, what became of a claim as long as evidence.
  store.challenges.prune(time - HOUR_MS, before);
  store.joinTokens.prune(time - DAY_MS);
  store.certificates.prune(time);
  store.continuity.prune();
  store.results.prune(before);
  store.basis.prune(before, store.results.previousBefore(before));
  store.events.prune(before);
}

/** Results that are thinned out at one time: as many as keep nobody waiting for long. */
const MOST_THINNED = 500;

/**
 * Keeps one an hour of the results that said nothing new, once they are `retention.steadyHours` old. A machine on which
 * nothing happens is otherwise most of what a server keeps. Run it often: each time it does a little.
 */
export function thinOut(store: Store, config: ServerConfig, now: Date): void {
  const before = now.getTime() - config.retention.steadyHours * HOUR_MS;
  store.results.thin(before, MOST_THINNED);
}
