import { type Digest, decodeShape, parseDigest, parseJson } from '@kallio/codec';
import { AppraisalRecord } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, type Row, text } from '@kallio/store';

/** A signed result and its record. */
export interface StoredResult {
  /** SHA-256 of the EAR's text. */
  readonly digest: Digest;
  readonly claim: number;
  readonly at: number;
  readonly ear: string;
  readonly record: AppraisalRecord;
}

/** Signed results. */
export class Results {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  insert(result: StoredResult): void {
    this.#db
      .sql(
        `INSERT INTO results (digest, claim, attester, at, evidence, ear, record, previous)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
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
