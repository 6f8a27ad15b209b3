import { refusal } from '@kallio/codec';
import type { SessionRecord } from '@kallio/protocol';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';
import { notIn, ownSession, recordOrNotFound } from './open.ts';

/** Ends the attester's own session because there is nothing to close it on. */
export function abandonSession(
  { store, turns }: Verifier,
  attester: string,
  id: string,
  now: Date,
): Promise<SessionRecord> {
  return turns.take(attester, async () => {
    const { session } = ownSession(store, attester, id, now);
    if (session.state !== 'opening' && session.state !== 'open') {
      throw notIn(session, 'SESSION_NOT_OPEN', 'end again');
    }
    const reason = refusal('SESSION_ABANDONED' satisfies ServerCode, 'The build host gave the session up.');
    store.sessions.fail(id, reason, now.getTime());
    return recordOrNotFound(store.sessions.get(id)?.record);
  });
}
