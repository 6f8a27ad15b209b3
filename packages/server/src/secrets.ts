import { randomBytes } from 'node:crypto';
import { sha256, toBase64Url, utf8 } from '@kallio/codec';

/** A bearer or join token: 256 bits, so that a stored hash needs no salt and can't be searched. */
export function newToken(kind: 'token' | 'join'): string {
  return `kallio_${kind}_${toBase64Url(randomBytes(32))}`;
}

/** What the store keeps of a token. */
export function hashToken(token: string): Uint8Array {
  return sha256(utf8(token));
}
