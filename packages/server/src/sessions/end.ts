import { type Refusal, refusal } from '@kallio/codec';
import type { Judged } from '../attestation/appraise.ts';
import type { ServerCode } from '../codes.ts';
import type { StoredSession } from '../store/sessions.ts';
import type { Store } from '../store/store.ts';

const EXPIRED: Refusal = refusal('SESSION_EXPIRED' satisfies ServerCode, 'The session’s window is over.');

/** The session as it stands at this moment: one whose window is over is ended first. Call inside a transaction. */
export function sessionNow(store: Store, id: string, now: Date): StoredSession | undefined {
  const session = store.sessions.get(id);
  if (session === undefined) return undefined;
  const underWay = session.state === 'opening' || session.state === 'open';
  if (!underWay || session.expiresAt > now.getTime()) return session;
  store.sessions.expire(id, EXPIRED, now.getTime());
  return store.sessions.get(id);
}

/** Ends every session whose window is over. */
export function expireSessions(store: Store, now: Date): void {
  const time = now.getTime();
  for (const session of store.sessions.overdue(time)) {
    store.transaction(() => store.sessions.expire(session, EXPIRED, time));
  }
}

/**
 * A platform that is seen to be violated ends its sessions there and then: what was built meanwhile must not be saved
 * by a closing quote that looks well again. Call inside the transaction that records the result.
 */
export function failSessionsOf(store: Store, judged: Judged, now: Date): void {
  if (!judged.appraisal.authentic || judged.appraisal.platform.state !== 'VIOLATED') return;
  const { evidence, evidenceDigest, platform } = judged.appraisal;
  const first = platform.refusals[0];
  for (const { session } of store.sessions.underWay(judged.claim.claim)) {
    // It may have been shown outside the session, and is from now on evidence of it.
    store.evidence.put(evidenceDigest, judged.claim.attester, now.getTime(), evidence);
    const reason = refusal(
      'SESSION_PLATFORM_VIOLATED' satisfies ServerCode,
      `During the session the build host showed a violation${first === undefined ? '.' : `: ${first.message} (${first.code})`}`,
      { pointer: first?.pointer },
    );
    store.sessions.fail(session, reason, now.getTime(), evidenceDigest);
  }
}
