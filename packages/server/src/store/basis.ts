import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { type AppraisalPolicy, type Continuity, continuityToJson, policyDigest } from '@kallio/appraisal';
import {
  canonicalBytes,
  canonicalize,
  type Digest,
  digestOf,
  type Json,
  parseJson,
  utf8,
} from '@kallio/codec';
import type { Database } from '@kallio/store';
import { blob, text } from '@kallio/store';

/** Parts of what is kept that are large and seldom change. */
const PARTS = ['eventLog', 'ima', 'instanceLog', 'inventory'] as const;
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

  /** Keeps what was kept of an attester before an appraisal, under the digest of its canonical form. */
  putState(state: Continuity, at: number): Digest {
    const json = continuityToJson(state);
    const digest = digestOf(utf8(json));
    const whole = parseJson(json, LIMITS);
    if (whole === null || typeof whole !== 'object' || Array.isArray(whole)) throw new Error('unreachable');
    const core: Record<string, Json> = {};
    const parts: { readonly name: string; readonly digest: Digest; readonly bytes: Uint8Array }[] = [];
    for (const [name, value] of Object.entries(whole)) {
      if (!PARTS.some((part) => part === name)) core[name] = value;
      else {
        const bytes = canonicalBytes(value);
        parts.push({ name, digest: digestOf(bytes), bytes });
      }
    }
    this.#db.transaction(() => {
      const { changes } = this.#db
        .sql('INSERT INTO kept_states (digest, at, core) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
        .run(digest, at, canonicalize(core));
      if (Number(changes) === 0) return;
      for (const part of parts) {
        if (this.#db.sql('SELECT 1 FROM kept_parts WHERE digest = ?').get(part.digest) === undefined) {
          this.#db
            .sql('INSERT INTO kept_parts (digest, bytes) VALUES (?, ?)')
            .run(part.digest, zstdCompressSync(part.bytes));
        }
        this.#db
          .sql('INSERT INTO kept_state_parts (state, name, part) VALUES (?, ?, ?)')
          .run(digest, part.name, part.digest);
      }
    });
    return digest;
  }

  /** What was kept, whole again. */
  state(digest: string): Json | undefined {
    const row = this.#db.sql('SELECT core FROM kept_states WHERE digest = ?').get(digest);
    if (row === undefined) return undefined;
    const core = parseJson(text(row, 'core'), LIMITS);
    const parts = this.#db
      .sql('SELECT name, bytes FROM kept_state_parts JOIN kept_parts ON digest = part WHERE state = ?')
      .all(digest)
      .map((part): [string, Json] => [
        text(part, 'name'),
        parseJson(zstdDecompressSync(blob(part, 'bytes')), LIMITS),
      ]);
    return { ...Object(core), ...Object.fromEntries(parts) };
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
    this.#db
      .sql(
        `DELETE FROM kept_states WHERE at < ?
           AND NOT EXISTS (SELECT 1 FROM results WHERE previous = kept_states.digest)`,
      )
      .run(before);
    this.#db
      .sql('DELETE FROM kept_parts WHERE NOT EXISTS (SELECT 1 FROM kept_state_parts WHERE part = digest)')
      .run();
    this.#db.sql('DELETE FROM event_logs WHERE at < ?').run(before);
  }
}
