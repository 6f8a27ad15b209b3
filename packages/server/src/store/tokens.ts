import { KallioError } from '@kallio/codec';
import type { ProtocolCode, Role } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, type Row, text, word } from '@kallio/store';
import type { ServerCode } from '../codes.ts';

/** A person or program that showed a bearer token. */
export interface TokenHolder {
  readonly name: string;
  readonly role: Role;
}

/** Bearer tokens of people and programs; kept as hashes. */
export class Tokens {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Adds a token under a name that no token in force has. Times in milliseconds since 1970. */
  insert(hash: Uint8Array, holder: TokenHolder, expiresAt: number, by: string, now: number): void {
    this.#db.transaction(() => {
      // An expired token has lost its name to whoever asks next.
      this.#db
        .sql(
          'UPDATE tokens SET revoked_at = expires_at WHERE name = ? AND revoked_at IS NULL AND expires_at <= ?',
        )
        .run(holder.name, now);
      if (this.#inForce(holder.name, now) !== undefined) {
        throw new KallioError(
          'CONFLICT' satisfies ProtocolCode,
          `A token named ${holder.name} is in force already.`,
          { hint: 'Choose another name, or end that one first.' },
        );
      }
      this.#db
        .sql('INSERT INTO tokens (hash, name, role, expires_at, made_by) VALUES (?, ?, ?, ?, ?)')
        .run(hash, holder.name, holder.role, expiresAt, by);
    });
  }

  /** Who holds the token with this hash, while it is in force. */
  holder(hash: Uint8Array, now: number): TokenHolder | undefined {
    const row = this.#db
      .sql('SELECT name, role FROM tokens WHERE hash = ? AND revoked_at IS NULL AND expires_at > ?')
      .get(hash, now);
    return row === undefined ? undefined : holderOf(row);
  }

  /** Puts a token in the place of the one of this name in force; gives its holder, or undefined where there is none. */
  rotate(
    name: string,
    hash: Uint8Array,
    expiresAt: number,
    by: string,
    now: number,
  ): TokenHolder | undefined {
    return this.#db.transaction(() => {
      const holder = this.#inForce(name, now);
      if (holder === undefined) return undefined;
      this.drop(name, now);
      this.insert(hash, holder, expiresAt, by, now);
      return holder;
    });
  }

  /** Ends a token. The last admin token in force can't be ended: nobody could make another over the network. */
  revoke(name: string, now: number): boolean {
    return this.#db.transaction(() => {
      const holder = this.#inForce(name, now);
      if (holder === undefined) return false;
      if (holder.role === 'admin' && this.#admins(now) === 1) {
        throw new KallioError(
          'TOKEN_LAST_ADMIN' satisfies ServerCode,
          'This is the last admin token in force; make another one first.',
        );
      }
      this.#db.sql('UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL').run(now, name);
      return true;
    });
  }

  /** Ends every token of this name without asking. For whoever owns the data folder. */
  drop(name: string, now: number): void {
    this.#db.sql('UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL').run(now, name);
  }

  #admins(now: number): number {
    const row = this.#db
      .sql(`SELECT count(*) AS n FROM tokens WHERE role = 'admin' AND revoked_at IS NULL AND expires_at > ?`)
      .get(now);
    return integer(row ?? {}, 'n');
  }

  #inForce(name: string, now: number): TokenHolder | undefined {
    const row = this.#db
      .sql('SELECT name, role FROM tokens WHERE name = ? AND revoked_at IS NULL AND expires_at > ?')
      .get(name, now);
    return row === undefined ? undefined : holderOf(row);
  }
}

function holderOf(row: Row): TokenHolder {
  return { name: text(row, 'name'), role: word(row, 'role', ['viewer', 'operator', 'admin']) };
}
