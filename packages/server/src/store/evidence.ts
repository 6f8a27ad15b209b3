import type { Digest } from '@kallio/codec';
import type { Database } from '@kallio/store';
import { blob } from '@kallio/store';
import { packed, unpacked } from './packed.ts';

/**
 * Evidence messages of sessions, by the digest of their canonical form: for as long as the session, which is for good. What
 * was shown outside sessions stands with its result.
 */
export class EvidenceStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** `bytes`: the message in canonical JSON, whose SHA-256 is `digest`. */
  put(digest: Digest, attester: string, at: number, bytes: Uint8Array): void {
    this.#db
      .sql('INSERT INTO evidence (digest, attester, at, bytes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING')
      .run(digest, attester, at, packed(bytes));
  }

  get(digest: Digest): Uint8Array | undefined {
    const row = this.#db.sql('SELECT bytes FROM evidence WHERE digest = ?').get(digest);
    return row === undefined ? undefined : unpacked(blob(row, 'bytes'));
  }
}
