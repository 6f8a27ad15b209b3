import { type KeyObject, sign, verify } from 'node:crypto';
import { Reader, utf8, Writer } from '@kallio/codec';
import { tlogError } from '../error.ts';
import { formatSignature, isBy, type Note, type NoteSignature } from '../note.ts';
import { COSIGNATURE_KEY, keyIdOf, type VerifierKey } from '../verifier-key.ts';

/** timestamped_signature of Ed25519 (tlog-cosignature, "Format"): u64 seconds, 64 bytes of signature. */
const SIGNATURE_BYTES = 8 + 64;

/** What a witness signs (tlog-cosignature, "Ed25519 signed message"). `text` is the checkpoint's, with its newline. */
function cosignedMessage(text: string, time: number): Uint8Array {
  return utf8(`cosignature/v1\ntime ${time}\n${text}`);
}

/** A witness's line under a checkpoint's text. `time` in seconds since 1970. */
export function cosign(
  text: string,
  witness: { readonly name: string; readonly raw: Uint8Array; readonly key: KeyObject },
  time: number,
): string {
  const signature = new Uint8Array(sign(null, cosignedMessage(text, time), witness.key));
  const body = new Writer(SIGNATURE_BYTES).u64(BigInt(time)).bytes(signature).finish();
  const keyId = keyIdOf(witness.name, COSIGNATURE_KEY, witness.raw);
  return formatSignature({ name: witness.name, keyId, signature: body });
}

/** A witness that signed, and when, in seconds since 1970. */
export interface Cosigned {
  readonly witness: VerifierKey;
  readonly time: number;
}

/**
 * Which of these witnesses signed a note, each once. Lines of keys that are not among them are passed over; a line that
 * says it is by one of them and does not hold refuses the note (`LOG_COSIGNATURE`), as one that holds must not stand
 * beside one that was made up.
 */
export function cosignedBy(note: Note, witnesses: readonly VerifierKey[]): readonly Cosigned[] {
  return witnesses.flatMap((witness) => {
    const lines = note.signatures.filter((line) => isBy(line, witness.name, witness.keyId));
    const times = lines.map((line) => timeOf(note.text, line, witness));
    // Signed twice: what counts is that it did, and when last.
    return times.length === 0 ? [] : [{ witness, time: Math.max(...times) }];
  });
}

function timeOf(text: string, { signature }: NoteSignature, { name, key }: VerifierKey): number {
  if (signature.length !== SIGNATURE_BYTES) throw refused(name, 'it is no timestamped signature');
  const reader = new Reader(signature);
  const time = Number(reader.u64());
  if (!Number.isSafeInteger(time)) throw refused(name, 'its time is out of range');
  if (!verify(null, cosignedMessage(text, time), key, signature.subarray(8))) {
    throw refused(name, 'it is not over this checkpoint, or not by this key');
  }
  return time;
}

function refused(name: string, why: string) {
  return tlogError('LOG_COSIGNATURE', `The cosignature of ${name} does not hold: ${why}.`, {
    hint: 'Fetch the proof again: kallio log proof.',
  });
}
