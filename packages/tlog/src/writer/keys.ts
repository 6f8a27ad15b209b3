import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  type Checkpoint,
  type Rendering,
  signC2spCheckpoint,
  signSigstoreCheckpoint,
} from '../checkpoint.ts';
import { requireP256 } from '../ecdsa.ts';
import { logIdOf } from '../entry.ts';
import { tlogError } from '../error.ts';

/** A log's private keys: one head, two renderings, one key for each. */
export interface LogKeys {
  /** ECDSA P-256: entry timestamps, and heads for Sigstore clients. The log's identity. */
  readonly p256: KeyObject;
  /** Ed25519: heads for C2SP clients. */
  readonly ed25519: KeyObject;
}

/** A log's keys with what follows from them. */
export interface LogSigner {
  /** SPKI of the P-256 key, DER. */
  readonly spki: Uint8Array;
  readonly logId: string;
  readonly p256: KeyObject;
  /** The Ed25519 key's 32 bytes. */
  readonly raw: Uint8Array;
  sign(head: Checkpoint): Record<Rendering, string>;
}

/** The 32 bytes of an Ed25519 public key (RFC 8032). */
export function ed25519Raw(key: KeyObject): Uint8Array {
  if (key.asymmetricKeyType !== 'ed25519') {
    throw tlogError('LOG_KEY_UNSUITABLE', 'This key is not an Ed25519 key.');
  }
  // SPKI of an Ed25519 key is a fixed header and the key (RFC 8410 section 4).
  return new Uint8Array(createPublic(key).export({ type: 'spki', format: 'der' }).subarray(-32));
}

/** A public key as SPKI, DER. */
export function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublic(key).export({ type: 'spki', format: 'der' }));
}

/** Checks the keys once. */
export function logSigner(keys: LogKeys): LogSigner {
  requireP256(keys.p256);
  const spki = spkiOf(keys.p256);
  const raw = ed25519Raw(keys.ed25519);
  return {
    spki,
    logId: logIdOf(spki),
    p256: keys.p256,
    raw,
    sign: (head) => ({
      sigstore: signSigstoreCheckpoint(head, keys.p256, spki),
      c2sp: signC2spCheckpoint(head, keys.ed25519, raw),
    }),
  };
}

function createPublic(key: KeyObject): KeyObject {
  return key.type === 'private' ? createPublicKey(key) : key;
}
