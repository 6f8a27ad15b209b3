import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  borrowBase64,
  canonicalBytes,
  fromBase64,
  fromHex,
  type HoldsEcdsa,
  sameBytes,
  sha256,
  toHex,
} from '@kallio/codec';
import { verifyCheckpointOf } from './checkpoint.ts';
import { requireP256, verifyP256 } from './ecdsa.ts';
import { tlogError } from './error.ts';
import { leafHash } from './hash.ts';
import { verifyInclusion } from './proof.ts';

/** Where a leaf stands in the tree, and the signed head that says so. `H` is how hashes are held: as text, or decoded. */
export interface InclusionProof<H = string> {
  logIndex: number;
  treeSize: number;
  /** Text is hexadecimal. */
  rootHash: H;
  /** From the leaf's sibling up. Text is hexadecimal. */
  hashes: H[];
  /** Signed note, in the rendering for Sigstore clients. */
  checkpoint: string;
}

/** An entry with everything an offline verifier needs. */
export interface LogEntry<H = string> {
  logIndex: number;
  /** Seconds since 1970, UTC. */
  integratedTime: number;
  /** SHA-256 of the log's SPKI, hexadecimal. */
  logId: string;
  /** The leaf, base64. */
  body: string;
  /** ECDSA P-256 SHA-256 by the log's key over {@link setPayload}; DER, base64. */
  signedEntryTimestamp: string;
  inclusionProof: InclusionProof<H>;
}

/** A log that is trusted: its key, and its origin where known. */
export interface TrustedLog {
  readonly publicKey: KeyObject;
  /** The same key as SPKI, DER. */
  readonly spki: Uint8Array;
  /** {@link logIdOf} it. */
  readonly id: string;
  readonly origin?: string;
}

/** A log to trust, by its key (SPKI, DER) and its origin. `LOG_KEY_UNSUITABLE` unless the key is on P-256. */
export function trustedLog(spki: Uint8Array, origin?: string): TrustedLog {
  const publicKey = publicKeyOf(spki);
  requireP256(publicKey);
  return { publicKey, spki, id: logIdOf(spki), ...(origin === undefined ? {} : { origin }) };
}

function publicKeyOf(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw tlogError('LOG_KEY_UNSUITABLE', 'This is no public key.', { cause });
  }
}

/** SHA-256 of a log's SPKI, hexadecimal. */
export function logIdOf(spki: Uint8Array): string {
  return toHex(sha256(spki));
}

/** The bytes under a signed entry timestamp, as Rekor v1 makes them. */
export function setPayload(
  entry: Pick<LogEntry, 'body' | 'integratedTime' | 'logId' | 'logIndex'>,
): Uint8Array {
  const { body, integratedTime, logId, logIndex } = entry;
  return canonicalBytes({ body, integratedTime, logID: logId, logIndex });
}

/**
 * Verifies that an entry stands in a trusted log: signed entry timestamp, inclusion proof, signed head, and that all
 * three speak of the same thing. Throws the first refusal. What the entry *says* is the caller's to check. The leaf is
 * given where it is decoded already.
 */
export function verifyLogEntry(
  entry: LogEntry<string | Uint8Array>,
  log: TrustedLog,
  leaf: Uint8Array = fromBase64(entry.body),
  holds?: HoldsEcdsa,
): void {
  verifySet(entry, log, holds);
  // A proof for another place would let one entry vouch for another.
  if (entry.inclusionProof.logIndex !== entry.logIndex) {
    throw tlogError('LOG_INDEX_MISMATCH', 'Entry and inclusion proof name different places in the log.');
  }
  verifyEntryInclusion(entry, log, leaf, holds);
}

/** The log's promise with its time: stops a back-dated entry, and an entry of another log. */
export function verifySet(
  entry: Omit<LogEntry, 'inclusionProof'>,
  log: TrustedLog,
  holds?: HoldsEcdsa,
): void {
  if (entry.logId !== log.id) {
    throw tlogError('LOG_KEY_UNKNOWN', 'This entry is of a log that is not trusted here.');
  }
  const signature = borrowBase64(entry.signedEntryTimestamp);
  if (!verifyP256(log.publicKey, setPayload(entry), signature, holds)) {
    throw tlogError('LOG_SET_INVALID', 'The signed entry timestamp does not hold.');
  }
}

/**
 * The leaf under a head that the log signed: stops an entry that only its submitter ever saw. A log of several trees
 * (Rekor) counts entries over all of them, so the two indices may differ here; {@link verifyLogEntry} allows one.
 */
export function verifyEntryInclusion(
  entry: Pick<LogEntry<string | Uint8Array>, 'body' | 'inclusionProof'>,
  log: TrustedLog,
  leaf: Uint8Array = fromBase64(entry.body),
  holds?: HoldsEcdsa,
): void {
  const proof = entry.inclusionProof;
  const root = bytesOf(proof.rootHash);
  const head = verifyCheckpointOf(proof.checkpoint, log.publicKey, keyIdOfLog(log), log.origin, holds);
  // The proof must lead to the head that is signed, not to a tree its bearer made up.
  if (head.size !== proof.treeSize || !sameBytes(head.root, root)) {
    throw tlogError('LOG_HEAD_MISMATCH', 'The inclusion proof leads to another head than the signed one.');
  }
  verifyInclusion({
    index: proof.logIndex,
    size: proof.treeSize,
    leafHash: leafHash(leaf),
    hashes: proof.hashes.map(bytesOf),
    root,
  });
}

/** What notes call a log's key, which is the beginning of the log's id: `ecdsaKeyId`. */
function keyIdOfLog({ id }: TrustedLog): Uint8Array {
  return fromHex(id.slice(0, 8), 4);
}

/** Of one that is decoded already, the length is for those to check who use it. */
function bytesOf(hash: string | Uint8Array): Uint8Array {
  return typeof hash === 'string' ? fromHex(hash, 32) : hash;
}
