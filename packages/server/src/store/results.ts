import { type Digest, decodeShape, parseDigest, parseJson } from '@kallio/codec';
import { AppraisalRecord } from '@kallio/protocol';
import type { Database, Late, LateWrite } from '@kallio/store';
import { blob, integer, optional, type Row, text } from '@kallio/store';
import { packed, unpacked } from './packed.ts';
import type { Standing } from './standings.ts';

/** A signed result and its record. */
export interface StoredResult {
  /** SHA-256 of the EAR's text. */
  readonly digest: Digest;
  readonly claim: number;
  readonly at: number;
  readonly ear: string;
  readonly record: AppraisalRecord;
}

/** A result as it is before it is signed. */
export type UnsignedResult = Omit<StoredResult, 'digest' | 'ear'>;

/** What a result rests on, and nothing else does. */
export interface RestsOn {
  /** The message in canonical JSON; absent where a session keeps it. */
  readonly evidence?: Uint8Array;
  /** Root of what was kept of the attester before; absent the first time. */
  readonly previous?: string;
}

const HOUR_MS = 3_600_000;
/** Columns of a result without what it rests on. */
const RESULT = 'digest, claim, at, ear, record';
/** As `results_by_digest` has it: enough of a digest to find it by, and the whole to know it by. */
const BY_DIGEST = 'substr(digest, 8, 12) = substr(?1, 8, 12) AND digest = ?1';

/** Signed results, each with what it rests on. */
export class Results {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** `steady`: it says nothing that the one before it did not say. */
  insert(result: StoredResult, { evidence, previous }: RestsOn, steady: boolean): void {
    this.#db
      .sql(
        `INSERT INTO results (digest, claim, at, steady, ear, record, evidence, previous)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        result.digest,
        result.claim,
        result.at,
        steady ? 1 : 0,
        result.ear,
        JSON.stringify(result.record),
        evidence === undefined ? null : packed(evidence),
        previous ?? null,
      );
  }

  /**
   * Writes the row of a steady result where its claim is still admitted, and what was last told of it is still the same:
   * otherwise there is more to say.
   */
  insertingSteady(
    result: UnsignedResult & { readonly digest: Late; readonly ear: Late },
    { evidence, previous }: RestsOn,
    told: Required<Standing>,
  ): LateWrite {
    return {
      sql: `INSERT INTO results (digest, claim, at, steady, ear, record, evidence, previous)
         SELECT ?, c.claim, ?, 1, ?, ?, ?, ? FROM claims AS c JOIN standings AS s ON s.claim = c.claim
           WHERE c.claim = ? AND c.state = 'admitted' AND s.platform = ? AND s.due_at = ?`,
      values: [
        result.digest,
        result.at,
        result.ear,
        JSON.stringify(result.record),
        evidence === undefined ? null : packed(evidence),
        previous ?? null,
        result.claim,
        told.platform,
        told.dueAt,
      ],
    };
  }

  get(digest: string): StoredResult | undefined {
    const row = this.#db.sql(`SELECT ${RESULT} FROM results WHERE ${BY_DIGEST}`).get(digest);
    return row === undefined ? undefined : resultOf(row);
  }

  /** What a result rests on; nothing where there is no such result. */
  restsOn(digest: string): RestsOn {
    const row = this.#db.sql(`SELECT evidence, previous FROM results WHERE ${BY_DIGEST}`).get(digest) ?? {};
    const evidence = optional(row, 'evidence', blob);
    const previous = optional(row, 'previous', text);
    return {
      ...(evidence === undefined ? {} : { evidence: unpacked(evidence) }),
      ...(previous === undefined ? {} : { previous }),
    };
  }

  /** The last result of a claim. */
  latest(claim: number): StoredResult | undefined {
    const row = this.#db
      .sql(`SELECT ${RESULT} FROM results WHERE claim = ? ORDER BY at DESC, place DESC LIMIT 1`)
      .get(claim);
    return row === undefined ? undefined : resultOf(row);
  }

  /** Digest and time of the last result of a claim. */
  lastOf(claim: number): Pick<StoredResult, 'digest' | 'at'> | undefined {
    const row = this.#db
      .sql('SELECT digest, at FROM results WHERE claim = ? ORDER BY at DESC, place DESC LIMIT 1')
      .get(claim);
    return row === undefined
      ? undefined
      : { digest: parseDigest(text(row, 'digest')), at: integer(row, 'at') };
  }

  /** Results of a claim in the places before `place`, the newest first, at most so many. */
  before(claim: number, place: number, count: number): { place: number; result: StoredResult }[] {
    return this.#db
      .sql(`SELECT place, ${RESULT} FROM results WHERE claim = ? AND place < ? ORDER BY place DESC LIMIT ?`)
      .all(claim, place, count)
      .map((row) => ({ place: integer(row, 'place'), result: resultOf(row) }));
  }

  /** Where a result stands in the order in which they came; 0 for one that is not there. */
  placeOf(digest: Digest): number {
    const row = this.#db.sql(`SELECT place FROM results WHERE ${BY_DIGEST}`).get(digest);
    return row === undefined ? 0 : integer(row, 'place');
  }

  /**
   * Thins out steady results older than `before`, the oldest first, at most so many: of those of one claim in one hour the
   * last one stays.
   */
  thin(before: number, most: number): void {
    const old = this.#db.sql(
      'SELECT place, claim, at, digest FROM results WHERE steady = 1 AND at < ? ORDER BY at LIMIT ?',
    );
    // Where there is none nobody is kept waiting for a transaction.
    if (old.get(before, 1) === undefined) return;
    this.#db.transaction(() => this.#thinOut(old.all(before, most)));
  }

  #thinOut(rows: readonly Row[]): void {
    for (const row of rows) {
      const [place, claim, at] = [integer(row, 'place'), integer(row, 'claim'), integer(row, 'at')];
      const nextHour = (Math.floor(at / HOUR_MS) + 1) * HOUR_MS;
      const later = this.#db.sql(
        'SELECT 1 FROM results WHERE claim = ? AND at > ? AND at < ? AND steady = 1 LIMIT 1',
      );
      const isNeeded = this.#db.sql('SELECT 1 FROM continuity WHERE claim = ? AND result = ?');
      const stays =
        later.get(claim, at, nextHour) === undefined ||
        isNeeded.get(claim, text(row, 'digest')) !== undefined;
      this.#db
        .sql(stays ? 'UPDATE results SET steady = 0 WHERE place = ?' : 'DELETE FROM results WHERE place = ?')
        .run(place);
    }
  }

  /** Forgets results older than `before`, but each claim's last and those that continuity rests on. */
  prune(before: number): void {
    this.#db
      .sql(
        `DELETE FROM results WHERE at < ?
           AND EXISTS (SELECT 1 FROM results AS later WHERE later.claim = results.claim AND later.place > results.place)
           AND NOT EXISTS (SELECT 1 FROM continuity AS c WHERE c.claim = results.claim AND c.result = results.digest)`,
      )
      .run(before);
  }

  /** Roots of what was kept before results older than `before`. */
  previousBefore(before: number): string[] {
    return this.#db
      .sql('SELECT previous FROM results WHERE at < ? AND previous IS NOT NULL')
      .all(before)
      .map((row) => text(row, 'previous'));
  }
}

function resultOf(row: Row): StoredResult {
  return {
    digest: parseDigest(text(row, 'digest')),
    claim: integer(row, 'claim'),
    at: integer(row, 'at'),
    ear: text(row, 'ear'),
    record: decodeShape(
      AppraisalRecord,
      parseJson(text(row, 'record'), { maxBytes: 64 * 1024 * 1024 }),
      'STORE_CORRUPT',
      'A stored appraisal record',
    ),
  };
}
