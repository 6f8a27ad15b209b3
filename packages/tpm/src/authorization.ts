import { type Reader, Writer } from '@kallio/codec';
import { readSized, writeSized } from './structures/sized.ts';

/** What authorizes the use of a handle. */
export type Authorization =
  | { readonly kind: 'password'; readonly password: Uint8Array }
  | { readonly kind: 'policy'; readonly session: number };

/** How a command is authorized. */
export interface Protection {
  /** One for each handle that needs it, in order; where there is none, the empty password. */
  readonly authorizations?: readonly Authorization[];
}

/** The empty password: what keys without an authorization value take. */
export const NO_PASSWORD: Authorization = { kind: 'password', password: new Uint8Array(0) };

/** The authorizations of a command whose first `count` handles need one. */
export function protect(
  protection: Protection,
  count: number,
): { readonly authorizations: readonly Authorization[] } {
  const given = protection.authorizations ?? [];
  return { authorizations: Array.from({ length: count }, (_, index) => given[index] ?? NO_PASSWORD) };
}

const RS_PW = 0x4000_0009;
const CONTINUE_SESSION = 1;

/** The authorization area of a command (Part 1 section 18), without its size. */
export function authorizationArea(authorizations: readonly Authorization[]): Uint8Array {
  const writer = new Writer();
  for (const authorization of authorizations) {
    switch (authorization.kind) {
      case 'password':
        writer.u32(RS_PW).u16(0).u8(0);
        writeSized(writer, authorization.password);
        break;
      case 'policy':
        writer.u32(authorization.session).u16(0).u8(CONTINUE_SESSION).u16(0);
        break;
    }
  }
  return writer.finish();
}

/** Reads the authorization area of a response; password and plain policy sessions carry no HMAC. */
export function readAuthorizationArea(reader: Reader, count: number): void {
  for (let i = 0; i < count; i++) {
    readSized(reader, 64, 'A response nonce');
    reader.u8('Response session attributes');
    readSized(reader, 64, 'A response HMAC');
  }
}
