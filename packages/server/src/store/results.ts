import { type Digest, decodeShape, parseDigest, parseJson } from '@kallio/codec';
import { AppraisalRecord } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, optional, type Row, text } from '@kallio/store';

/** A signed result and its record. */
export interface StoredResult {
  /** SHA-256 of the EAR's text. */
  readonly digest: Digest;
  readonly claim: number;
  readonly at: number;
  readonly ear: string;
  readonly record: AppraisalRecord;
}

/** A result that was thinned out, by what it rested on. */
export interface ThinnedResult {
  readonly evidence: string;
  readonly previous?: string;
}

const HOUR_MS = 3_600_000;

/** Signed results. */
export class Results {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** `steady`: it says nothing that the one before it did not say. */
  insert(result: StoredResult, steady: boolean): void {
    this.#db
      .sql(
        `INSERT INTO results (digest, claim, attester, at, evidence, ear, record, previous, steady)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        result.digest,
        result.claim,
        result.record.attester,
        result.at,
        result.record.evidence,
        result.ear,
        JSON.stringify(result.record),
        result.record.basis?.previous ?? null,
        steady ? 1 : 0,
      );
  }

  get(digest: string): StoredResult | undefined {
    const row = this.#db.sql('SELECT * FROM results WHERE digest = ?').get(digest);
    return row === undefined ? undefined : resultOf(row);
  }

  /** The last result of a claim. */
  latest(claim: number): StoredResult | undefined {
    const row = this.#db
      .sql('SELECT * FROM results WHERE claim = ? ORDER BY at DESC, rowid DESC LIMIT 1')
      .get(claim);
    return row === undefined ? undefined : resultOf(row);
  }

  /** Results of a claim in the places before `place`, the newest first, at most so many. */
  before(claim: number, place: number, count: number): { place: number; result: StoredResult }[] {
    return this.#db
      .sql('SELECT rowid AS place, * FROM results WHERE claim = ? AND rowid < ? ORDER BY rowid DESC LIMIT ?')
      .all(claim, place, count)
      .map((row) => ({ place: integer(row, 'place'), result: resultOf(row) }));
  }

  /** Where a result stands in the order in which they came; 0 for one that is not there. */
  placeOf(digest: Digest): number {
    const row = this.#db.sql('SELECT rowid AS place FROM results WHERE digest = ?').get(digest);
    return row === undefined ? 0 : integer(row, 'place');
  }

  /**
   * Thins out steady results older than `before`, the oldest first, at most so many: of those of one claim in one hour the
   * last one stays. Gives what those rested on that are gone.
   */
  thin(before: number, most: number): ThinnedResult[] {
    const rows = this.#db
      .sql(`SELECT rowid AS place, claim, at, digest, evidence, previous FROM results
           WHERE steady = 1 AND at < ? ORDER BY at LIMIT ?`)
      .all(before, most);
    return rows.flatMap((row) => {
      const [place, claim, at] = [integer(row, 'place'), integer(row, 'claim'), integer(row, 'at')];
      const nextHour = (Math.floor(at / HOUR_MS) + 1) * HOUR_MS;
      const later = this.#db.sql(
        'SELECT 1 FROM results WHERE claim = ? AND at > ? AND at < ? AND steady = 1 LIMIT 1',
      );
      const isNeeded = this.#db.sql('SELECT 1 FROM continuity WHERE claim = ? AND result = ?');
      if (
        later.get(claim, at, nextHour) === undefined ||
        isNeeded.get(claim, text(row, 'digest')) !== undefined
      ) {
        this.#db.sql('UPDATE results SET steady = 0 WHERE rowid = ?').run(place);
        return [];
      }
      this.#db.sql('DELETE FROM results WHERE rowid = ?').run(place);
      const previous = optional(row, 'previous', text);
      return [{ evidence: text(row, 'evidence'), ...(previous === undefined ? {} : { previous }) }];
    });
  }

  /** Forgets results older than `before`, but each claim's last and those that continuity rests on. */
  prune(before: number): void {
    this.#db
      .sql(
        `DELETE FROM results WHERE at < ?
           AND rowid NOT IN (SELECT max(rowid) FROM results GROUP BY claim)
           AND digest NOT IN (SELECT result FROM continuity)`,
      )
      .run(before);
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
