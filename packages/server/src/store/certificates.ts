import type { Database } from '@kallio/store';
import { integer } from '@kallio/store';

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

  /** The claim behind a certificate, and when the certificate ends. */
  get(fingerprint: string): { readonly claim: number; readonly notAfter: number } | undefined {
    const row = this.#db
      .sql('SELECT claim, not_after FROM certificates WHERE fingerprint = ?')
      .get(fingerprint);
    return row === undefined
      ? undefined
      : { claim: integer(row, 'claim'), notAfter: integer(row, 'not_after') };
  }

  prune(before: number): void {
    this.#db.sql('DELETE FROM certificates WHERE not_after < ?').run(before);
  }
}
