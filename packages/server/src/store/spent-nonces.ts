import type { Database, Write } from '@kallio/store';

/** Nonces that have been used. A nonce past its time is refused for that, so its row can go. */
export class SpentNonces {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** True the first time. */
  spend(nonce: Uint8Array, expiresAt: number): boolean {
    return this.#db.write(this.spending(nonce, expiresAt)) === 1;
  }

  /** Writes a row the first time. */
  spending(nonce: Uint8Array, expiresAt: number): Write {
    return {
      sql: 'INSERT INTO spent_nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING',
      values: [nonce, expiresAt],
    };
  }

  prune(before: number): void {
    this.#db.sql('DELETE FROM spent_nonces WHERE expires_at < ?').run(before);
  }
}
