import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  concat,
  type Digest,
  digestOf,
  equalBytes,
  fromBase64,
  fromUtf8,
  sha256,
  toBase64,
  utf8,
  Writer,
} from '@kallio/codec';
import { pemOf, verifierOf } from '@kallio/tlog';
import { signatureError } from './error.ts';

/** SPKI of a P-256 key up to the point: AlgorithmIdentifier {ecPublicKey, prime256v1} (RFC 5480 section 2). */
const P256_HEADER = fromBase64('MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=');
const POINT_BYTES = 65;
const CURVE = utf8('nistp256');
const ALGORITHM = utf8('ecdsa-sha2-nistp256');

/** A signing key: ready to verify with, and as the bytes its digest is over. */
export interface SigningKey {
  readonly key: KeyObject;
  /** SPKI, DER. */
  readonly spki: Uint8Array;
  /** {@link keyHint} and {@link keyDigest} of it. */
  readonly hint: string;
  readonly digest: Digest;
  /** What a log entry says of it: base64 of its PEM. */
  readonly verifier: string;
}

/**
 * The key of an SPKI. Only P-256 with an uncompressed point has a place here: one key has one encoding, so its
 * digest names it. Anything else is `SIGNATURE_KEY_UNSUITABLE`.
 */
export function signingKeyOf(spki: Uint8Array): SigningKey {
  pointOf(spki);
  const name = Buffer.from(spki).toString('base64');
  const known = imported.get(name);
  if (known !== undefined) return known;
  const own = spki.slice();
  const made = {
    key: importKey(own),
    spki: own,
    hint: keyHint(own),
    digest: keyDigest(own),
    verifier: verifierOf(own),
  };
  remember(imported, name, made);
  return made;
}

/** Bounded: anybody may show keys. */
function remember(keys: Map<string, SigningKey>, name: string, key: SigningKey): void {
  if (keys.size >= MAX_IMPORTED) keys.clear();
  keys.set(name, key);
}

const MAX_IMPORTED = 256;
/** Keys by their SPKI: importing one costs as much as using it, and a build host signs many images. */
const imported = new Map<string, SigningKey>();
/** The same keys by what log entries say of them. */
const logged = new Map<string, SigningKey>();

/** The key that a log entry names: base64 of a PEM text, exactly as {@link SigningKey.verifier} has it. */
export function signingKeyOfVerifier(verifier: string): SigningKey {
  const known = logged.get(verifier);
  if (known !== undefined) return known;
  const key = signingKeyOfPem(fromUtf8(fromBase64(verifier)));
  remember(logged, verifier, key);
  return key;
}

function importKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw unsuitable(cause);
  }
}

/** The key of a PEM text, which must be exactly as {@link pemOf} writes it. */
function signingKeyOfPem(pem: string): SigningKey {
  const match = /^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]{1,256})\n-----END PUBLIC KEY-----\n$/.exec(
    pem,
  );
  const spki = fromBase64((match?.[1] ?? '').replaceAll('\n', ''));
  if (match === null || pemOf(spki) !== pem) throw unsuitable();
  return signingKeyOf(spki);
}

/** The key of a PEM file as people have them: line lengths and line ends are theirs to choose. */
export function publicKeyOfPem(text: string): SigningKey {
  const match = /^\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]{1,2048})-----END PUBLIC KEY-----\s*$/.exec(
    text,
  );
  if (match?.[1] === undefined) throw unsuitable();
  try {
    return signingKeyOf(fromBase64(match[1].replaceAll(/\s/g, '')));
  } catch (cause) {
    throw unsuitable(cause);
  }
}

/**
 * What a bundle calls its key: `SHA256:` and the unpadded base64 of the SHA-256 of the key in SSH wire form (RFC 5656
 * section 3.1), as `ssh-keygen -l` prints it. Go's Sigstore verifiers know no other.
 */
export function keyHint(spki: Uint8Array): string {
  const wire = new Writer();
  for (const field of [ALGORITHM, CURVE, pointOf(spki)]) wire.u32(field.length).bytes(field);
  return `SHA256:${toBase64(sha256(wire.finish())).replace(/=+$/, '')}`;
}

/** SHA-256 of the SPKI: how an attestation result names the key. */
export function keyDigest(spki: Uint8Array) {
  return digestOf(spki);
}

function pointOf(spki: Uint8Array): Uint8Array {
  const header = spki.subarray(0, spki.length - POINT_BYTES);
  const point = spki.subarray(-POINT_BYTES);
  if (!equalBytes(concat(header), P256_HEADER) || point[0] !== 4) throw unsuitable();
  return point;
}

function unsuitable(cause?: unknown) {
  return signatureError('SIGNATURE_KEY_UNSUITABLE', 'The signing key is not an ECDSA key on P-256.', {
    cause,
  });
}
