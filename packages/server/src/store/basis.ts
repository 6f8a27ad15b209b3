import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { type AppraisalPolicy, type Continuity, continuityRoot, policyDigest } from '@kallio/appraisal';
import { canonicalBytes, type Digest, decodeShape, digestOf, type Json, parseJson } from '@kallio/codec';
import type { Database } from '@kallio/store';
import { blob } from '@kallio/store';
import { Type } from 'typebox';
import { Recent } from '../recent.ts';

/** Fields of what is kept that stand in its root by their digest. */
const PARTS: ReadonlySet<string> = new Set(['eventLog', 'ima', 'instanceLog', 'inventory']);
const DAY_MS = 86_400_000;
/** Parts that are known to be there: those of as many attesters as one server has. */
const RECENT = 65_536;
const LIMITS = { maxBytes: 64 * 1024 * 1024 };

/** What results rest on beside their evidence: enough to come to each of them again. */
export class BasisStore {
  readonly #db: Database;
  /** Policies that are on disk. */
  readonly #policies = new WeakSet<AppraisalPolicy>();
  /** When parts that are on disk were last said to be in use. */
  readonly #used = new Recent<Digest, number>(RECENT);

  constructor(db: Database) {
    this.#db = db;
  }

  /** Keeps a policy under the digest of its JCS, for good: every change of it is a few kilobytes. */
  putPolicy(policy: AppraisalPolicy): Digest {
    const digest = policyDigest(policy);
    if (this.#policies.has(policy)) return digest;
    this.#db
      .sql('INSERT INTO used_policies (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(digest, zstdCompressSync(canonicalBytes(policy)));
    this.#db.afterCommit(() => this.#policies.add(policy));
    return digest;
  }

  /** A policy's JCS. */
  policy(digest: string): Json | undefined {
    const row = this.#db.sql('SELECT bytes FROM used_policies WHERE digest = ?').get(digest);
    return row === undefined ? undefined : parseJson(zstdDecompressSync(blob(row, 'bytes')), LIMITS);
  }

  /** Keeps the larger parts of what was kept of an attester before an appraisal; its root, for the result to hold. */
  putState(state: Continuity, at: number): { readonly digest: Digest; readonly root: string } {
    const { digest, text: root, parts } = continuityRoot(state);
    for (const part of parts) this.#putPart(part.digest, part.value, at);
    return { digest, root };
  }

  #putPart(digest: Digest, value: object, at: number): void {
    const used = this.#used.get(digest);
    if (used !== undefined && used >= at - DAY_MS) return;
    this.#db
      .sql(
        `INSERT INTO kept_parts (digest, at, bytes) VALUES (?, ?, ?)
           ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE at < excluded.at`,
      )
      .run(digest, at, zstdCompressSync(canonicalBytes(value)));
    this.#db.afterCommit(() => this.#used.set(digest, at));
  }

  /** What was kept, whole again, from its root. */
  state(previous: string): Json | undefined {
    const root = rootOf(previous);
    const whole = new Map(Object.entries(root));
    for (const [name, part] of partsOf(root)) {
      const bytes = this.#db.sql('SELECT bytes FROM kept_parts WHERE digest = ?').get(part);
      if (bytes === undefined) return undefined;
      whole.set(name, parseJson(zstdDecompressSync(blob(bytes, 'bytes')), LIMITS));
    }
    return Object.fromEntries(whole);
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

  /**
   * Forgets parts that are of no result any more. `needed`: roots of results older than `before`. What is older and still
   * needed is an attester's last, and keeps its parts.
   */
  prune(before: number, needed: readonly string[]): void {
    this.#db.transaction(() => {
      const use = this.#db.sql('UPDATE kept_parts SET at = ?1 WHERE digest = ?2 AND at < ?1');
      for (const root of needed) for (const [, part] of partsOf(rootOf(root))) use.run(before, part);
      // A part that is in use says so once a day at least.
      this.#db.sql('DELETE FROM kept_parts WHERE at < ?').run(before - 2 * DAY_MS);
      this.#db.sql('DELETE FROM event_logs WHERE at < ?').run(before);
    });
  }
}

const Root = Type.Record(Type.String(), Type.Unsafe<Json>(Type.Unknown()));

function rootOf(previous: string): Readonly<Record<string, Json>> {
  return decodeShape(Root, parseJson(previous, LIMITS), 'STORE_CORRUPT', 'What results rest on');
}

/** Names and digests of the parts that a root stands for. */
function partsOf(root: Readonly<Record<string, Json>>): [string, string][] {
  return Object.entries(root).flatMap(([name, value]): [string, string][] =>
    PARTS.has(name) && typeof value === 'string' ? [[name, value]] : [],
  );
}
