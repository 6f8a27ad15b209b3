import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { type AppraisalPolicy, type Continuity, continuityRoot, policyDigest } from '@kallio/appraisal';
import { canonicalBytes, type Digest, decodeShape, digestOf, type Json, parseJson } from '@kallio/codec';
import type { Database } from '@kallio/store';
import { blob, integer, type Row, text } from '@kallio/store';
import { Type } from 'typebox';

/** Fields of what is kept that stand in its root by their digest. */
const PARTS: ReadonlySet<string> = new Set(['eventLog', 'ima', 'instanceLog', 'inventory']);
const DAY_MS = 86_400_000;
const LIMITS = { maxBytes: 64 * 1024 * 1024 };

/** What results rest on beside their evidence: enough to come to each of them again. */
export class BasisStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Keeps a policy under the digest of its JCS, for good: every change of it is a few kilobytes. */
  putPolicy(policy: AppraisalPolicy): Digest {
    const digest = policyDigest(policy);
    if (this.#db.sql('SELECT 1 FROM used_policies WHERE digest = ?').get(digest) === undefined) {
      this.#db
        .sql('INSERT INTO used_policies (digest, bytes) VALUES (?, ?)')
        .run(digest, zstdCompressSync(canonicalBytes(policy)));
    }
    return digest;
  }

  /** A policy's JCS. */
  policy(digest: string): Json | undefined {
    const row = this.#db.sql('SELECT bytes FROM used_policies WHERE digest = ?').get(digest);
    return row === undefined ? undefined : parseJson(zstdDecompressSync(blob(row, 'bytes')), LIMITS);
  }

  /** Keeps what was kept of an attester before an appraisal; the digest of its root. */
  putState(state: Continuity, at: number): Digest {
    const { digest, text: root, parts } = continuityRoot(state);
    this.#db
      .sql('INSERT INTO kept_states (digest, at, root) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
      .run(digest, at, root);
    for (const part of parts) {
      const row = this.#db.sql('SELECT at FROM kept_parts WHERE digest = ?').get(part.digest);
      if (row === undefined) {
        this.#db
          .sql('INSERT INTO kept_parts (digest, at, bytes) VALUES (?, ?, ?)')
          .run(part.digest, at, zstdCompressSync(canonicalBytes(part.value)));
      } else if (integer(row, 'at') < at - DAY_MS) this.#use(part.digest, at);
    }
    return digest;
  }

  /** Forgets what was kept before one appraisal, unless a result rests on it. */
  forgetState(digest: string): void {
    this.#db
      .sql(
        'DELETE FROM kept_states WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM results WHERE previous = ?)',
      )
      .run(digest, digest);
  }

  /** What was kept, whole again. */
  state(digest: string): Json | undefined {
    const row = this.#db.sql('SELECT root FROM kept_states WHERE digest = ?').get(digest);
    if (row === undefined) return undefined;
    const root = rootOf(row);
    const whole = new Map(Object.entries(root));
    for (const [name, part] of partsOf(root)) {
      const bytes = this.#db.sql('SELECT bytes FROM kept_parts WHERE digest = ?').get(part);
      if (bytes === undefined) return undefined;
      whole.set(name, parseJson(zstdDecompressSync(blob(bytes, 'bytes')), LIMITS));
    }
    return Object.fromEntries(whole);
  }

  #use(part: string, at: number): void {
    this.#db.sql('UPDATE kept_parts SET at = ? WHERE digest = ?').run(at, part);
  }

  /** Keeps a firmware event log, as it was shown. */
  putEventLog(bytes: Uint8Array, at: number): void {
    this.#db
      .sql(
        `INSERT INTO event_logs (digest, at, bytes) VALUES (?, ?, ?)
           ON CONFLICT (digest) DO UPDATE SET at = excluded.at`,
      )
      .run(digestOf(bytes), at, zstdCompressSync(bytes));
  }

  eventLog(digest: string): Uint8Array | undefined {
    const row = this.#db.sql('SELECT bytes FROM event_logs WHERE digest = ?').get(digest);
    return row === undefined ? undefined : new Uint8Array(zstdDecompressSync(blob(row, 'bytes')));
  }

  /** Forgets states older than `before` that no result rests on any more, and parts that are of none. */
  prune(before: number): void {
    this.#db.transaction(() => {
      this.#db
        .sql(
          `DELETE FROM kept_states WHERE at < ?
             AND NOT EXISTS (SELECT 1 FROM results WHERE previous = kept_states.digest)`,
        )
        .run(before);
      // What is older and still needed is an attester's last, and keeps its parts.
      const needed = this.#db.sql('SELECT root FROM kept_states WHERE at < ?').all(before);
      for (const row of needed) for (const [, part] of partsOf(rootOf(row))) this.#use(part, before);
      // A part that is in use says so once a day at least.
      this.#db.sql('DELETE FROM kept_parts WHERE at < ?').run(before - 2 * DAY_MS);
      this.#db.sql('DELETE FROM event_logs WHERE at < ?').run(before);
    });
  }
}

const Root = Type.Record(Type.String(), Type.Unsafe<Json>(Type.Unknown()));

function rootOf(row: Row): Readonly<Record<string, Json>> {
  return decodeShape(Root, parseJson(text(row, 'root'), LIMITS), 'STORE_CORRUPT', 'What results rest on');
}

/** Names and digests of the parts that a root stands for. */
function partsOf(root: Readonly<Record<string, Json>>): [string, string][] {
  return Object.entries(root).flatMap(([name, value]): [string, string][] =>
    PARTS.has(name) && typeof value === 'string' ? [[name, value]] : [],
  );
}
