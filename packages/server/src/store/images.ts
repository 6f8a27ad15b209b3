import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { type Digest, parseDigest } from '@kallio/codec';
import type { Database } from '@kallio/store';
import { blob, text } from '@kallio/store';
import { Recent } from '../recent.ts';

/** Images whose file manifest stays known. */
const RECENT = 16_384;

/** Which file manifest an image has, as logged statements of closed sessions name it, and the manifests themselves. */
export class Images {
  readonly #db: Database;
  /** By image, as it is on disk. */
  readonly #named = new Recent<Digest, Digest>(RECENT);

  constructor(db: Database) {
    this.#db = db;
  }

  /** Notes that a logged statement of this closed session names this file manifest for the image. */
  name(image: Digest, fileManifest: Digest, session: string, logIndex: number): void {
    this.#named.delete(image);
    this.#db
      .sql(
        `INSERT INTO image_references (image, file_manifest, session, log_index) VALUES (?, ?, ?, ?)
           ON CONFLICT DO NOTHING`,
      )
      .run(image, fileManifest, session, logIndex);
  }

  /**
   * The file manifest's digest for an image. Two statements that name different ones can't both be true; which one is
   * false is not known here, so the image then has none.
   */
  fileManifestOf(image: Digest): Digest | undefined {
    const known = this.#named.get(image);
    if (known !== undefined) return known;
    const rows = this.#db.sql('SELECT file_manifest FROM image_references WHERE image = ?').all(image);
    const [only, ...others] = rows;
    if (only === undefined || others.length > 0) return undefined;
    const fileManifest = parseDigest(text(only, 'file_manifest'));
    if (!this.#db.isTransaction) this.#named.set(image, fileManifest);
    return fileManifest;
  }

  has(fileManifest: Digest): boolean {
    return this.#db.sql('SELECT 1 FROM file_manifests WHERE digest = ?').get(fileManifest) !== undefined;
  }

  /** `bytes`: canonical JSON, whose SHA-256 is `fileManifest`. */
  put(fileManifest: Digest, bytes: Uint8Array): void {
    this.#db
      .sql('INSERT INTO file_manifests (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(fileManifest, zstdCompressSync(bytes));
  }

  get(fileManifest: Digest): Uint8Array | undefined {
    const row = this.#db.sql('SELECT bytes FROM file_manifests WHERE digest = ?').get(fileManifest);
    return row === undefined ? undefined : new Uint8Array(zstdDecompressSync(blob(row, 'bytes')));
  }
}
