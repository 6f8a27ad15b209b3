import { hash } from 'node:crypto';
import { INLINE, plain } from './bytes.ts';
import { KallioError } from './error.ts';
import { SHORT, shortBase64, shortHex } from './short-text.ts';

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

/** Strict: lower case, even length, nothing else; `bytes` demands an exact length. */
export function fromHex(text: string, bytes?: number): Uint8Array {
  const decoded = text.length <= SHORT ? shortHex(text) : longHex(text);
  if (decoded === undefined) {
    throw new KallioError('CODEC_HEX', 'This is not lower-case hexadecimal of whole bytes.');
  }
  if (bytes !== undefined && text.length !== bytes * 2) {
    throw new KallioError('CODEC_HEX', `Expected ${bytes} bytes in hexadecimal, got ${text.length / 2}.`);
  }
  return decoded;
}

function longHex(text: string): Uint8Array | undefined {
  const decoded = Buffer.from(text, 'hex');
  // By writing it again, which takes half the time of a pattern. Node stops at what is no hexadecimal, or reads its low byte.
  return decoded.toString('hex') === text ? new Uint8Array(decoded) : undefined;
}

/** Padded standard base64 (RFC 4648 section 4). */
export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}

/** Unpadded URL-safe base64 (RFC 4648 section 5). */
export function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

/**
 * Strict standard base64: padded, no white space, no stray bits in the last symbol. One byte string has one
 * encoding, so a digest over the text and a digest over the bytes can't be played against each other.
 */
export function fromBase64(text: string): Uint8Array {
  const bytes = borrowBase64(text);
  return bytes.length <= INLINE ? bytes : new Uint8Array(bytes);
}

/**
 * The same for who reads the bytes at once and keeps none of them: they may lie in memory that is shared with others, and
 * cost half as much.
 */
export function borrowBase64(text: string): Uint8Array {
  const bytes = text.length <= SHORT ? shortBase64(text) : longBase64(text);
  if (bytes === undefined) throw new KallioError('CODEC_BASE64', 'This is not canonical, padded base64.');
  return bytes;
}

/** Undefined for what is not the one spelling of its bytes. */
export function longBase64(text: string): Uint8Array | undefined {
  const padding = !text.endsWith('=') ? 0 : text.endsWith('==') ? 2 : 1;
  const bytes = Buffer.from(text, 'base64');
  // Node passes over what is no symbol, and has fewer bytes then. It also takes the two symbols of URLs, and of what is no
  // ASCII the low byte.
  if (bytes.length !== (text.length / 4) * 3 - padding || text.includes('-') || text.includes('_'))
    return undefined;
  if (Buffer.byteLength(text) !== text.length) return undefined;
  // Bits that make no whole byte can only be in the last symbols.
  if (bytes.subarray(padding - 3).toString('base64') !== text.slice(-4)) return undefined;
  return plain(bytes);
}

/** Strict unpadded URL-safe base64. */
export function fromBase64Url(text: string): Uint8Array {
  return new Uint8Array(borrowBase64Url(text));
}

/** The same under the terms of {@link borrowBase64}. */
export function borrowBase64Url(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url');
  const last = text.length % 4;
  // As of `longBase64`: what is passed over makes no bytes, the symbols of the other alphabet make the same, and bits that
  // make no whole byte can only be in the last symbols.
  const isWhole = last !== 1 && bytes.length === Math.floor((text.length / 4) * 3);
  const isOther = text.includes('+') || text.includes('/') || Buffer.byteLength(text) !== text.length;
  const isExact = last === 0 || bytes.subarray(1 - last).toString('base64url') === text.slice(-last);
  if (!isWhole || isOther || !isExact) {
    throw new KallioError('CODEC_BASE64', 'This is not canonical, unpadded base64url.');
  }
  return plain(bytes);
}

/** A content digest as OCI writes it. Only SHA-256 is spoken here. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** True for `sha256:` and 64 lower-case hexadecimal digits. */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/** The digest of a text, or `CODEC_DIGEST`. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new KallioError('CODEC_DIGEST', 'A digest is "sha256:" and 64 lower-case hexadecimal digits.');
}

/** SHA-256 of bytes, as a digest. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${hash('sha256', bytes, 'hex')}`;
}

/** SHA-256 of a text's UTF-8, as a digest. A lone surrogate is hashed as U+FFFD: give well-formed text. */
export function digestOfText(text: string): Digest {
  return `sha256:${hash('sha256', text, 'hex')}`;
}
