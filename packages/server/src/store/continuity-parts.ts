import { canonicalize, type Digest, digestOf, utf8 } from '@kallio/codec';
import type { Database } from '@kallio/store';
import { text } from '@kallio/store';
import { Recent } from '../recent.ts';

/** Parts that stay read: those of as many attesters as one server has under way. */
const RECENT = 16_384;

/**
 * Parts of continuities that hardly ever change (event logs, inventories) and are most of their bytes. Each stands once,
 * by the SHA-256 of its JCS, however often evidence comes and whoever shows the same.
 */
export class ContinuityParts<T extends object> {
  readonly #db: Database;
  readonly #parse: (text: string) => T;
  readonly #read = new Recent<string, T>(RECENT);
  readonly #digests = new WeakMap<T, Digest>();

  constructor(db: Database, parse: (text: string) => T) {
    this.#db = db;
    this.#parse = parse;
  }

  /**
   * Sees that the part is there, and gives its digest and the one object that stands for it from now on. `before`: what is
   * on disk in its place, if that is known.
   */
  keep(part: T, before: T | undefined): { readonly digest: Digest; readonly part: T } {
    const known = this.#digests.get(part);
    if (known !== undefined && part === before) return { digest: known, part };
    const digest = known ?? digestOf(utf8(canonicalize(part)));
    this.#db
      .sql('INSERT INTO continuity_parts (digest, value) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(digest, canonicalize(part));
    return { digest, part: this.#one(digest, part) };
  }

  get(digest: string): T {
    const known = this.#read.get(digest);
    if (known !== undefined) return known;
    const row = this.#db.sql('SELECT value FROM continuity_parts WHERE digest = ?').get(digest) ?? {};
    const value = text(row, 'value');
    return this.#one(digestOf(utf8(value)), this.#parse(value));
  }

  #one(digest: Digest, part: T): T {
    const known = this.#read.get(digest);
    if (known !== undefined) return known;
    this.#read.set(digest, part);
    this.#digests.set(part, digest);
    return part;
  }
}
