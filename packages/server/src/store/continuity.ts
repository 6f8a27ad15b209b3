import type { SQLInputValue } from 'node:sqlite';
import {
  type Continuity,
  continuityFromJson,
  continuityToJson,
  keptEventLogFromJson,
  keptInventoryFromJson,
} from '@kallio/appraisal';
import { type Digest, KallioError } from '@kallio/codec';
import type { ProtocolCode } from '@kallio/protocol';
import type { Database, Late, Write } from '@kallio/store';
import { integer, optional, text } from '@kallio/store';
import { Recent } from '../recent.ts';
import { ContinuityParts } from './continuity-parts.ts';

/** What was judged of an attester's logs so far, and how often that has been replaced. */
export interface KeptContinuity {
  readonly version: number;
  readonly value: Continuity;
}

/** Attesters whose continuity stays read. */
const RECENT = 16_384;

/** Where each attester's logs were judged up to, in the boot that was last seen. */
export class ContinuityStore {
  readonly #db: Database;
  readonly #eventLogs: ContinuityParts<NonNullable<Continuity['eventLog']>>;
  readonly #inventories: ContinuityParts<NonNullable<Continuity['inventory']>>;
  /** By claim: what is on disk, and nothing that may be rolled back. */
  readonly #recent = new Recent<number, KeptContinuity>(RECENT);

  constructor(db: Database) {
    this.#db = db;
    this.#eventLogs = new ContinuityParts(db, keptEventLogFromJson);
    this.#inventories = new ContinuityParts(db, keptInventoryFromJson);
  }

  get(claim: number): KeptContinuity | undefined {
    const known = this.#recent.get(claim);
    if (known !== undefined) return known;
    const row = this.#db
      .sql('SELECT version, value, event_log, inventory FROM continuity WHERE claim = ?')
      .get(claim);
    if (row === undefined) return undefined;
    const eventLog = optional(row, 'event_log', text);
    const inventory = optional(row, 'inventory', text);
    const kept = {
      version: integer(row, 'version'),
      value: {
        ...continuityFromJson(text(row, 'value')),
        ...(eventLog === undefined ? {} : { eventLog: this.#eventLogs.get(eventLog) }),
        ...(inventory === undefined ? {} : { inventory: this.#inventories.get(inventory) }),
      },
    };
    if (!this.#db.isTransaction) this.#recent.set(claim, kept);
    return kept;
  }

  /** Replaces version `from` (0: none yet). Stops two judgements from the same point from both being kept. */
  set(claim: number, from: number, value: Continuity, result: Digest): void {
    const replacing = this.replacing(claim, from, value, result);
    this.#recent.delete(claim);
    if (this.#db.write(replacing) === 1) return;
    throw new KallioError(
      'CONFLICT' satisfies ProtocolCode,
      'Other evidence of this attester was judged meanwhile.',
      { hint: 'Ask for a nonce and show evidence again.' },
    );
  }

  /** Writes a row where it is version `from` that is there. The parts that it names are written already. */
  replacing<R extends Digest | Late>(
    claim: number,
    from: number,
    value: Continuity,
    result: R,
  ): Write<SQLInputValue | R> {
    const { eventLog, inventory, ...others } = value;
    const before = this.#recent.get(claim)?.value;
    const log = eventLog === undefined ? undefined : this.#eventLogs.keep(eventLog, before?.eventLog);
    const runs = inventory === undefined ? undefined : this.#inventories.keep(inventory, before?.inventory);
    const kept = {
      ...others,
      ...(log === undefined ? {} : { eventLog: log.part }),
      ...(runs === undefined ? {} : { inventory: runs.part }),
    };
    return {
      sql: `INSERT INTO continuity (claim, version, value, result, event_log, inventory) VALUES (?, 1, ?, ?, ?, ?)
         ON CONFLICT (claim) DO UPDATE SET version = version + 1, value = excluded.value, result = excluded.result,
           event_log = excluded.event_log, inventory = excluded.inventory
         WHERE version = ?`,
      values: [claim, continuityToJson(others), result, log?.digest ?? null, runs?.digest ?? null, from],
      done: () => this.#recent.set(claim, { version: from + 1, value: kept }),
    };
  }

  /** Reads it anew the next time: it may be another on disk by now. */
  forget(claim: number): void {
    this.#recent.delete(claim);
  }

  /** Forgets event logs and inventories that no attester has any more. */
  prune(): void {
    this.#db
      .sql(
        `DELETE FROM continuity_parts WHERE digest NOT IN (
           SELECT event_log FROM continuity WHERE event_log IS NOT NULL
           UNION ALL SELECT inventory FROM continuity WHERE inventory IS NOT NULL)`,
      )
      .run();
  }
}
