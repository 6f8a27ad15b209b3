import type { Database } from '@kallio/store';
import { integer, text } from '@kallio/store';

/** Client certificates in use, each tied to the claim it was issued for. */
export class Certificates {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  insert(fingerprint: string, claim: number, notAfter: number): void {
    this.#db
      .sql('INSERT INTO certificates (fingerprint, claim, not_after) VALUES (?, ?, ?)')
      .run(fingerprint, claim, notAfter);
  }

  /** Whom a certificate was issued to, whether that claim is admitted now, and when the certificate ends. */
  get(
    fingerprint: string,
  ): { readonly attester: string; readonly admitted: boolean; readonly notAfter: number } | undefined {
    const row = this.#db
      .sql(
        'SELECT attester, state, not_after FROM certificates JOIN claims USING (claim) WHERE fingerprint = ?',
      )
      .get(fingerprint);
    if (row === undefined) return undefined;
    return {
      attester: text(row, 'attester'),
      admitted: text(row, 'state') === 'admitted',
      notAfter: integer(row, 'not_after'),
    };
  }

  prune(before: number): void {
    this.#db.sql('DELETE FROM certificates WHERE not_after < ?').run(before);
  }
}
