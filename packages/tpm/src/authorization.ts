import type { Session } from './sessions/session.ts';

/** The use of a session in one command. */
export interface SessionUse {
  readonly kind: 'session';
  readonly session: Session;
  /** The authorization value of the handle that the session authorizes; empty by default. */
  readonly authValue?: Uint8Array;
  /** Encrypts the first parameter of the command, of the response, or of both. */
  readonly encrypt?: 'command' | 'response' | 'both';
  /** Adds the command and its response to the session's audit digest. */
  readonly audit?: boolean;
  /** Ends the session with this command, if it goes well. */
  readonly end?: boolean;
}

/** What authorizes the use of a handle. */
export type Authorization =
  | { readonly kind: 'password'; readonly password: Uint8Array }
  | { readonly kind: 'policy'; readonly session: number }
  | SessionUse;

/** How a command is authorized and protected on its way. */
export interface Protection {
  /** One for each handle that needs it, in order; where there is none, the empty password. */
  readonly authorizations?: readonly Authorization[];
  /** Sessions that authorize nothing: they encrypt, audit, and let no one alter command or response. */
  readonly sessions?: readonly SessionUse[];
}

/** The empty password: what keys without an authorization value take. */
export const NO_PASSWORD: Authorization = { kind: 'password', password: new Uint8Array(0) };

/** The authorizations of a command whose first `count` handles need one, and its sessions. */
export function protect(protection: Protection, count: number): Required<Protection> {
  const given = protection.authorizations ?? [];
  return {
    authorizations: Array.from({ length: count }, (_, index) => given[index] ?? NO_PASSWORD),
    sessions: protection.sessions ?? [],
  };
}
