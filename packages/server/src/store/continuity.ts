import { type Continuity, continuityFromJson, continuityToJson } from '@kallio/appraisal';
import type { Digest } from '@kallio/codec';
import { KallioError } from '@kallio/codec';
import type { ProtocolCode } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, text } from '@kallio/store';

/** What was judged of an attester's logs so far, and how often that has been replaced. */
export interface KeptContinuity {
  readonly version: number;
  readonly value: Continuity;
}

/** Where each attester's logs were judged up to, in the boot that was last seen. */
export class ContinuityStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  get(claim: number): KeptContinuity | undefined {
    const row = this.#db.sql('SELECT version, value FROM continuity WHERE claim = ?').get(claim);
    return row === undefined
      ? undefined
      : { version: integer(row, 'version'), value: continuityFromJson(text(row, 'value')) };
  }

  /** Replaces version `from` (0: none yet). Stops two judgements from the same point from both being kept. */
  set(claim: number, from: number, value: Continuity, result: Digest): void {
    const { changes } = this.#db
      .sql(
        `INSERT INTO continuity (claim, version, value, result) VALUES (?, 1, ?, ?)
           ON CONFLICT (claim) DO UPDATE SET version = version + 1, value = excluded.value, result = excluded.result
           WHERE version = ?`,
      )
      .run(claim, continuityToJson(value), result, from);
    if (Number(changes) === 1) return;
    throw new KallioError(
      'CONFLICT' satisfies ProtocolCode,
      'Other evidence of this attester was judged meanwhile.',
      {
        hint: 'Ask for a nonce and show evidence again.',
      },
    );
  }
}
