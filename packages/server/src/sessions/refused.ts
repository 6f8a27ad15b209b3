import { KallioError, type Refusal } from '@kallio/codec';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';

/** Refusals before anything was judged: with another nonce, from another place, or on a repaired server it may still do. */
const RETRYABLE = new Set<string>([
  'NONCE_EXPIRED',
  'NONCE_SPENT',
  'NONCE_UNKNOWN',
  'EVIDENCE_POSITION',
  'POLICY_MISSING',
] satisfies ServerCode[]);

/** A failure that is stored already. */
export class SessionEnded extends KallioError {
  constructor(reason: Refusal) {
    super(reason.code, reason.message, reason);
  }
}

/** Does what may end a session; a refusal ends it as failed, for good, unless nothing was judged. */
export async function endingOnRefusal<T>(
  { store }: Verifier,
  id: string,
  now: Date,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // COMMIT POINT of a failure: the reason is stored before it is told, so that no second try can follow the first.
    if (error instanceof KallioError && !(error instanceof SessionEnded) && !RETRYABLE.has(error.code)) {
      store.transaction(() => {
        const { state } = store.sessions.get(id) ?? {};
        if (state !== 'opening' && state !== 'open') return;
        store.sessions.fail(id, error.toJSON(), now.getTime());
      });
    }
    throw error;
  }
}
