import type { Database } from '@kallio/store';
import { integer, text } from '@kallio/store';
import { Recent } from '../recent.ts';

/** Whom a certificate was issued to, and when it ends (milliseconds since 1970). */
interface Issued {
  readonly claim: number;
  readonly attester: string;
  readonly notAfter: number;
}

/** Certificates that stay read. */
const RECENT = 16_384;

/** Client certificates in use, each tied to the claim it was issued for. */
export class Certificates {
  readonly #db: Database;
  /** By fingerprint: of what is on disk, only what never changes. */
  readonly #recent = new Recent<string, Issued>(RECENT);

  constructor(db: Database) {
    this.#db = db;
  }

  insert(fingerprint: string, claim: number, notAfter: number): void {
    this.#db
      .sql('INSERT INTO certificates (fingerprint, claim, not_after) VALUES (?, ?, ?)')
      .run(fingerprint, claim, notAfter);
  }

  /** `undefined` for one that is not this server's, or so long over that it is forgotten. */
  get(fingerprint: string): Issued | undefined {
    const known = this.#recent.get(fingerprint);
    if (known !== undefined) return known;
    const row = this.#db
      .sql(
        'SELECT claim, attester, not_after FROM certificates JOIN claims USING (claim) WHERE fingerprint = ?',
      )
      .get(fingerprint);
    if (row === undefined) return undefined;
    const issued = {
      claim: integer(row, 'claim'),
      attester: text(row, 'attester'),
      notAfter: integer(row, 'not_after'),
    };
    if (!this.#db.isTransaction) this.#recent.set(fingerprint, issued);
    return issued;
  }

  prune(before: number): void {
    this.#db.sql('DELETE FROM certificates WHERE not_after < ?').run(before);
  }
}
