import { fromBase64, fromUtf8, KallioError } from '@kallio/codec';
import { type LogEntry, leafHash, MAX_TLOG_PROOF, parseTlogProof, verifyTlogProof } from '@kallio/tlog';
import { signatureError } from '../error.ts';
import { compiledPolicy } from './compile.ts';
import type { ImagePolicy } from './schema.ts';

/** What of a log entry says where it stands, and what. */
type LoggedAt = Pick<LogEntry, 'body' | 'logId' | 'logIndex'>;

/** Media and artifact type of a witnessed proof that travels with an image: C2SP tlog-proof, one of its signature. */
export const WITNESSED_TYPE = 'application/vnd.kallio.tlog-proof.v1';

/** Who vouched that the log shows this entry to everybody. */
export interface Witnessed {
  /** Size of the head that they signed. */
  readonly size: number;
  readonly names: readonly string[];
}

/**
 * Demands a proof of this log entry under a head that a quorum of the policy's witnesses signed. Anybody may have
 * attached other proofs beside the real one: the first that holds counts, otherwise the last refusal is told.
 */
export function requireWitnessed(
  policy: ImagePolicy,
  entry: LoggedAt,
  proofs: readonly Uint8Array[],
): Witnessed {
  let refusal: KallioError = signatureError(
    'WITNESS_PROOF_MISSING',
    'No witnessed proof is with this signature.',
    {
      hint: 'The server’s log must ask witnesses ("log.witnesses" in its configuration); kallio log proof fetches one for an image that is there already.',
    },
  );
  for (const proof of proofs) {
    try {
      return witnessedBy(policy, entry, proof);
    } catch (error) {
      if (!(error instanceof KallioError)) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

function witnessedBy(policy: ImagePolicy, entry: LoggedAt, bytes: Uint8Array): Witnessed {
  if (bytes.length > MAX_TLOG_PROOF) {
    throw signatureError('WITNESS_PROOF_SHAPE', `A proof has at most ${MAX_TLOG_PROOF} bytes.`);
  }
  const { logs, witnesses } = compiledPolicy(policy);
  const log = logs.get(entry.logId)?.verifierKey;
  if (log === undefined) throw new Error('the entry’s log was checked before');
  const proof = parseTlogProof(fromUtf8(bytes));
  const { index, head, cosigned } = verifyTlogProof(proof, leafHash(fromBase64(entry.body)), {
    log,
    witnesses,
  });
  // The same leaf can't stand twice in a log, but a head that says so must not decide which of the two was meant.
  if (index !== entry.logIndex) {
    throw signatureError('WITNESS_PROOF_SHAPE', 'The witnessed proof names another place in the log.');
  }
  const quorum = policy.witnesses?.quorum ?? 1;
  if (cosigned.length < quorum) {
    const names = cosigned.map(({ witness }) => witness.name);
    throw signatureError(
      'WITNESS_QUORUM',
      `The policy wants ${quorum} of its ${witnesses.length} witnesses, and ${names.length === 0 ? 'none' : names.join(', ')} signed.`,
      {
        pointer: 'policy:/witnesses/quorum',
        hint: 'Fetch a newer proof with kallio log proof; if a witness stays away, the log may be showing it another tree.',
      },
    );
  }
  return { size: head.size, names: cosigned.map(({ witness }) => witness.name) };
}
