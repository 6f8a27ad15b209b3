import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { Digest } from '@kallio/codec';
import type { Database } from '@kallio/store';
import { blob } from '@kallio/store';

/** Evidence messages as they came, by the digest of their canonical form; compressed, because logs repeat. */
export class EvidenceStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** `bytes`: the message in canonical JSON, whose SHA-256 is `digest`. */
  put(digest: Digest, attester: string, at: number, bytes: Uint8Array): void {
    this.#db
      .sql('INSERT INTO evidence (digest, attester, at, bytes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING')
      .run(digest, attester, at, zstdCompressSync(bytes));
  }

  get(digest: Digest): Uint8Array | undefined {
    const row = this.#db.sql('SELECT bytes FROM evidence WHERE digest = ?').get(digest);
    return row === undefined ? undefined : new Uint8Array(zstdDecompressSync(blob(row, 'bytes')));
  }

  /** Forgets one message, unless a session or a result rests on it. */
  forget(digest: string): void {
    this.#db
      .sql(
        `DELETE FROM evidence WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM results WHERE evidence = ?)
           AND NOT EXISTS (SELECT 1 FROM session_evidence WHERE session_evidence.digest = ?)`,
      )
      .run(digest, digest, digest);
  }

  /** Forgets evidence older than `before` that no session and no result rests on. */
  prune(before: number): void {
    this.#db
      .sql(
        `DELETE FROM evidence WHERE at < ? AND digest NOT IN (SELECT digest FROM session_evidence)
           AND NOT EXISTS (SELECT 1 FROM results WHERE results.evidence = evidence.digest)`,
      )
      .run(before);
  }
}
