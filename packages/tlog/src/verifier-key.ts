import { createPublicKey, type KeyObject } from 'node:crypto';
import { concat, equalBytes, fromBase64, fromHex, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import { tlogError } from './error.ts';

/** Signature types of Ed25519 keys (C2SP signed-note, "Signature types"): of a note; of a witness's cosignature. */
export const NOTE_KEY = 0x01;
export const COSIGNATURE_KEY = 0x04;
export type KeyType = typeof NOTE_KEY | typeof COSIGNATURE_KEY;

const RAW_BYTES = 32;
const KEY_ID_BYTES = 4;
/** SPKI of an Ed25519 key up to the key (RFC 8410 section 4). */
const SPKI_HEADER = fromHex('302a300506032b6570032100');
/** A key name has neither plus signs nor spaces (signed-note, "Format"). */
const VKEY = /^([^\s+]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44,64}={0,2})$/u;

/** Whose signatures one can tell: an Ed25519 key under a name. */
export interface VerifierKey {
  readonly name: string;
  readonly type: KeyType;
  /** First four bytes of {@link keyIdOf}'s digest: how a signature line names its key. */
  readonly keyId: Uint8Array;
  /** The 32 bytes of the key (RFC 8032). */
  readonly raw: Uint8Array;
  readonly key: KeyObject;
}

/** Key id (signed-note, tlog-cosignature): SHA-256(name || 0x0A || type || 32-byte key)[:4]. */
export function keyIdOf(name: string, type: KeyType, raw: Uint8Array): Uint8Array {
  return sha256(utf8(name), Uint8Array.of(0x0a, type), raw).slice(0, KEY_ID_BYTES);
}

/** A key as C2SP writes it (signed-note, "Verifier keys"): `<name>+<key id>+<base64 of type and key>`. */
export function formatVerifierKey(name: string, type: KeyType, raw: Uint8Array): string {
  return `${name}+${toHex(keyIdOf(name, type, raw))}+${toBase64(concat(Uint8Array.of(type), raw))}`;
}

/**
 * Reads a verifier key of one type; `LOG_VERIFIER_KEY`. The type must be the one that is wanted: a log's own key is no
 * witness's, and what a log signs is no cosignature.
 */
export function parseVerifierKey(text: string, type: KeyType): VerifierKey {
  const [, name, id, encoded] = VKEY.exec(text) ?? [];
  if (name === undefined || id === undefined || encoded === undefined) {
    throw unusable('it is not <name>+<key id>+<key>');
  }
  const bytes = fromBase64(encoded);
  const raw = bytes.slice(1);
  if (bytes[0] !== type) throw unusable(`its key is not of type ${type}`);
  if (raw.length !== RAW_BYTES) throw unusable('an Ed25519 key has 32 bytes');
  const key = verifierKeyOf(name, type, raw);
  // Stops a name or key that was changed in a copy: the id is over both.
  if (!equalBytes(key.keyId, fromHex(id, KEY_ID_BYTES)))
    throw unusable('its key id is of another name or key');
  return key;
}

/** The key of this name and these 32 bytes. */
export function verifierKeyOf(name: string, type: KeyType, raw: Uint8Array): VerifierKey {
  return { name, type, keyId: keyIdOf(name, type, raw), raw, key: publicKey(raw) };
}

function publicKey(raw: Uint8Array): KeyObject {
  const der = Buffer.from(concat(SPKI_HEADER, raw));
  return createPublicKey({ key: der, format: 'der', type: 'spki' });
}

function unusable(why: string) {
  return tlogError('LOG_VERIFIER_KEY', `This is no verifier key: ${why}.`, {
    hint: 'A log and a witness publish theirs as C2SP’s signed-note writes it: name+id+key.',
  });
}
