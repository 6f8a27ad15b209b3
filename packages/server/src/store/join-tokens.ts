import type { AttesterKind } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer } from '@kallio/store';

/** Who a join token may admit. */
export interface JoinTokenTerms {
  readonly uses: number;
  readonly kind?: AttesterKind;
  readonly attester?: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** Tokens that admit attesters; kept as hashes. */
export class JoinTokens {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  insert(hash: Uint8Array, terms: JoinTokenTerms, by: string): void {
    this.#db
      .sql(
        `INSERT INTO join_tokens (hash, uses_left, kind, attester, expires_at, made_by) VALUES (?, ?, ?, ?, ?, ?)`,
      )
      .run(hash, terms.uses, terms.kind ?? null, terms.attester ?? null, terms.expiresAt, by);
  }

  /** Would this token admit this attester now? */
  admits(hash: Uint8Array, kind: AttesterKind, attester: string, now: number): boolean {
    const row = this.#db
      .sql(`SELECT count(*) AS n FROM join_tokens WHERE ${FITS}`)
      .get(hash, now, kind, attester);
    return integer(row ?? {}, 'n') === 1;
  }

  /** Takes one use, if the token admits this attester now. Check and taking are one statement. */
  spend(hash: Uint8Array, kind: AttesterKind, attester: string, now: number): boolean {
    const { changes } = this.#db
      .sql(`UPDATE join_tokens SET uses_left = uses_left - 1 WHERE ${FITS}`)
      .run(hash, now, kind, attester);
    return Number(changes) === 1;
  }

  prune(before: number): void {
    this.#db.sql('DELETE FROM join_tokens WHERE expires_at < ?').run(before);
  }
}

const FITS =
  'hash = ? AND uses_left > 0 AND expires_at > ? AND (kind IS NULL OR kind = ?) AND (attester IS NULL OR attester = ?)';
