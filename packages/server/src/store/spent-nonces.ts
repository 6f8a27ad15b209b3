import type { Database } from '@kallio/store';

/** Nonces that have been used. A nonce past its time is refused for that, so its row can go. */
export class SpentNonces {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** True the first time. */
  spend(nonce: Uint8Array, expiresAt: number): boolean {
    const { changes } = this.#db
      .sql('INSERT INTO spent_nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(nonce, expiresAt);
    return Number(changes) === 1;
  }

  prune(before: number): void {
    this.#db.sql('DELETE FROM spent_nonces WHERE expires_at < ?').run(before);
  }
}
