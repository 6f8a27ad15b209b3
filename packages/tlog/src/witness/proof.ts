import { fromBase64, toBase64 } from '@kallio/codec';
import { type Checkpoint, verifyC2spCheckpoint } from '../checkpoint.ts';
import { tlogError } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { parseNote } from '../note.ts';
import { verifyInclusion } from '../proof.ts';
import type { VerifierKey } from '../verifier-key.ts';
import { type Cosigned, cosignedBy } from './cosignature.ts';

const FIRST_LINE = 'c2sp.org/tlog-proof@v1';
/** Longest proof read, in bytes: room for a head with 100 witnesses, and 63 hashes. */
export const MAX_TLOG_PROOF = 40 * 1024;
const MAX_HASHES = 63;
const INDEX = /^index (0|[1-9]\d{0,15})$/;

/** That an entry stands in a log, under a head that others have signed too (C2SP tlog-proof). */
export interface TlogProof {
  readonly index: number;
  readonly hashes: readonly Uint8Array[];
  /** The head, as a signed note in the rendering for C2SP clients. */
  readonly checkpoint: string;
}

export function formatTlogProof({ index, hashes, checkpoint }: TlogProof): string {
  return [FIRST_LINE, `index ${index}`, ...hashes.map(toBase64), '', checkpoint].join('\n');
}

/** Reads a proof; `LOG_PROOF_MALFORMED`. Extra data, which nothing authenticates, is not taken. */
export function parseTlogProof(text: string): TlogProof {
  if (text.length > MAX_TLOG_PROOF) throw malformed('it is too long');
  const split = text.indexOf('\n\n');
  const [first, second, ...encoded] = text.slice(0, Math.max(0, split)).split('\n');
  const [, digits] = INDEX.exec(second ?? '') ?? [];
  if (first !== FIRST_LINE || digits === undefined) throw malformed('its first lines are not those of one');
  if (encoded.length > MAX_HASHES) throw malformed('it has too many hashes');
  const index = Number(digits);
  if (!Number.isSafeInteger(index)) throw malformed('its index is too large');
  const hashes = encoded.map((line) => fromBase64(line));
  if (hashes.some((hash) => hash.length !== HASH_BYTES)) throw malformed('one of its hashes is no SHA-256');
  return { index, hashes, checkpoint: text.slice(split + 2) };
}

/** Which log's heads are believed, and whose cosignatures are looked for. */
export interface WitnessedBy {
  /** The log's Ed25519 key, under the origin that its heads have for C2SP clients. */
  readonly log: VerifierKey;
  readonly witnesses: readonly VerifierKey[];
}

/** An entry's place under a head, and who signed that head. */
export interface WitnessedHead {
  readonly index: number;
  readonly head: Checkpoint;
  readonly cosigned: readonly Cosigned[];
}

/**
 * Verifies a proof for a leaf (its hash): the head is the log's and signed by it, the leaf stands under it, and those
 * witnesses who say that they signed did. How many are enough is the caller's to say.
 */
export function verifyTlogProof(proof: TlogProof, leafHash: Uint8Array, by: WitnessedBy): WitnessedHead {
  const note = parseNote(proof.checkpoint);
  const head = verifyC2spCheckpoint(note, by.log);
  verifyInclusion({ ...proof, size: head.size, leafHash, hashes: [...proof.hashes], root: head.root });
  return { index: proof.index, head, cosigned: cosignedBy(note, by.witnesses) };
}

function malformed(why: string) {
  return tlogError('LOG_PROOF_MALFORMED', `This is no tlog-proof: ${why}.`);
}
