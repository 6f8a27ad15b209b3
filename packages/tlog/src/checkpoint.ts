import { type KeyObject, sign, verify } from 'node:crypto';
import { borrowUtf8, equalBytes, fromBase64, type HoldsEcdsa, sha256, toBase64, utf8 } from '@kallio/codec';
import { requireP256, verifyP256 } from './ecdsa.ts';
import { tlogError } from './error.ts';
import { HASH_BYTES } from './hash.ts';
import { ecdsaKeyId, formatNote, isBy, type Note, parseNote } from './note.ts';
import { keyIdOf, NOTE_KEY, type VerifierKey } from './verifier-key.ts';

/** A tree head: what a checkpoint says. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

/** Which clients a head is rendered for: Sigstore's (P-256, one signature), or C2SP's (Ed25519). */
export type Rendering = 'sigstore' | 'c2sp';

const ORIGIN = /^([^\s+]{1,200}) - (0|[1-9]\d{0,19})$/;

/**
 * A log's origin in the form that Sigstore clients demand: `<host> - <digits>`. The digits are derived from the
 * log's key (SPKI, DER), so that a log with a new key is a new log.
 */
export function logOrigin(host: string, publicKey: Uint8Array): string {
  const digits = Buffer.from(sha256(publicKey)).readBigUInt64BE(0) >> 1n;
  const origin = `${host} - ${digits}`;
  splitOrigin(origin);
  return origin;
}

/** The same log's origin for C2SP clients, which want no spaces: `<host>/<digits>`. */
export function c2spOrigin(origin: string): string {
  const { host, digits } = splitOrigin(origin);
  return `${host}/${digits}`;
}

/** The host name in a log's origin. */
export function logHost(origin: string): string {
  return splitOrigin(origin).host;
}

function splitOrigin(origin: string): { host: string; digits: string } {
  const [, host, digits] = ORIGIN.exec(origin) ?? [];
  if (host === undefined || digits === undefined) {
    throw tlogError('LOG_ORIGIN_MISMATCH', 'A log’s origin is a host name, " - ", and digits.');
  }
  return { host, digits };
}

/** The text that is signed (C2SP tlog-checkpoint section "Note text"): origin, size, root, one a line. */
export function checkpointText(checkpoint: Checkpoint): string {
  return `${checkpoint.origin}\n${checkpoint.size}\n${toBase64(checkpoint.root)}\n`;
}

/** Parses a checkpoint's text. Extension lines are refused: nobody here reads them, so nobody may hide in them. */
export function parseCheckpointText(text: string): Checkpoint {
  const [origin, size, root, end, ...more] = text.split('\n');
  if (!origin || size === undefined || root === undefined || end !== '' || more.length > 0) {
    throw malformed('it is not three lines');
  }
  if (!/^(?:0|[1-9]\d{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) {
    throw malformed('its size is no number');
  }
  const hash = fromBase64(root);
  if (hash.length !== HASH_BYTES) throw malformed('its root is no SHA-256');
  return { origin, size: Number(size), root: hash };
}

/** Signs a head for Sigstore clients: exactly one signature, a second line would break cosign and sigstore-go. */
export function signSigstoreCheckpoint(head: Checkpoint, key: KeyObject, publicKey: Uint8Array): string {
  requireP256(key);
  const text = checkpointText(head);
  const signature = new Uint8Array(sign('sha256', utf8(text), key));
  const name = splitOrigin(head.origin).host;
  return formatNote({ text, signatures: [{ name, keyId: ecdsaKeyId(publicKey), signature }] });
}

/**
 * Verifies a head in the rendering for Sigstore clients. `publicKey` is the log's key, `spki` its DER. The one
 * signature must be the log's: a note with more lines is refused, so that one text has one meaning to all clients.
 */
export function verifySigstoreCheckpoint(
  note: string,
  publicKey: KeyObject,
  spki: Uint8Array,
  origin?: string,
): Checkpoint {
  return verifyCheckpointOf(note, publicKey, ecdsaKeyId(spki), origin);
}

/** The same, by what a note calls the key. */
export function verifyCheckpointOf(
  note: string,
  publicKey: KeyObject,
  keyId: Uint8Array,
  origin?: string,
  holds?: HoldsEcdsa,
): Checkpoint {
  const parsed = parseNote(note);
  const head = parseCheckpointText(parsed.text);
  // Heads of another log of the same key (another shard) must not be taken for this one's.
  if (origin !== undefined && head.origin !== origin) {
    throw tlogError('LOG_ORIGIN_MISMATCH', `This checkpoint is of the log "${head.origin}".`);
  }
  const [line, second] = parsed.signatures;
  if (line === undefined || second !== undefined || !isBy(line, splitOrigin(head.origin).host, keyId)) {
    throw badSignature();
  }
  if (!verifyP256(publicKey, borrowUtf8(parsed.text), line.signature, holds)) throw badSignature();
  return head;
}

/** Signs a head for C2SP clients (Ed25519, tlog-checkpoint). `head.origin` is the log's, as {@link logOrigin} says it. */
export function signC2spCheckpoint(head: Checkpoint, key: KeyObject, publicKey: Uint8Array): string {
  const origin = c2spOrigin(head.origin);
  const text = checkpointText({ ...head, origin });
  const signature = new Uint8Array(sign(null, utf8(text), key));
  return formatNote({
    text,
    signatures: [{ name: origin, keyId: keyIdOf(origin, NOTE_KEY, publicKey), signature }],
  });
}

/**
 * Verifies a head in the rendering for C2SP clients: signed by the log with its Ed25519 key, which goes by the log's
 * name there. Lines of keys that are not known here (witnesses) are passed over; a line of the log's key that does not
 * hold refuses the note (signed-note section "Signatures").
 */
export function verifyC2spCheckpoint({ text, signatures }: Note, log: VerifierKey): Checkpoint {
  const head = parseCheckpointText(text);
  // Stops the head of another log that the same witnesses see.
  if (head.origin !== log.name) {
    throw tlogError('LOG_ORIGIN_MISMATCH', `This checkpoint is of the log "${head.origin}".`);
  }
  const own = signatures.filter((line) => isBy(line, log.name, log.keyId));
  const bytes = utf8(text);
  if (own.length === 0 || !own.every((line) => verify(null, bytes, log.key, line.signature)))
    throw badSignature();
  return head;
}

/** Whether two heads are one: same log, same size, same root. */
export function sameHead(a: Checkpoint, b: Checkpoint): boolean {
  return a.origin === b.origin && a.size === b.size && equalBytes(a.root, b.root);
}

function malformed(why: string) {
  return tlogError('LOG_CHECKPOINT_MALFORMED', `This is no checkpoint: ${why}.`);
}

function badSignature() {
  return tlogError(
    'LOG_CHECKPOINT_SIGNATURE',
    'This checkpoint is not signed by the log’s key, and by it alone.',
  );
}
