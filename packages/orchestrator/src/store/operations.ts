import type { Refusal } from '@kallio/codec';
import { Grant, RefusalReply } from '@kallio/protocol';
import { type Database, integer, optional, type Row, text, word } from '@kallio/store';
import { Type } from 'typebox';
import { document, optionalDocument } from './documents.ts';

const OPERATIONS = ['INSTANTIATE', 'TERMINATE'] as const;
const STATES = ['STARTING', 'PROCESSING', 'COMPLETED', 'FAILED'] as const;
const Hosts = Type.Array(Type.String());

/** A life-cycle operation occurrence as it is kept. */
export interface StoredOperation {
  readonly id: string;
  readonly instance: string;
  readonly operation: (typeof OPERATIONS)[number];
  readonly state: (typeof STATES)[number];
  readonly startedAt: number;
  readonly enteredAt: number;
  /** The devices that it may be placed on; any, where none is named. */
  readonly hosts: readonly string[];
  readonly grant: string | undefined;
  readonly error: Refusal | undefined;
}

/** Life-cycle operation occurrences and their grants. */
export class Operations {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  begin(
    id: string,
    instance: string,
    operation: StoredOperation['operation'],
    hosts: readonly string[],
    now: number,
  ): void {
    this.#db
      .sql(
        `INSERT INTO operations (id, instance, operation, state, started_at, entered_at, hosts)
           VALUES (?, ?, ?, 'STARTING', ?, ?, ?)`,
      )
      .run(id, instance, operation, now, now, JSON.stringify(hosts));
  }

  get(id: string): StoredOperation | undefined {
    const row = this.#db.sql('SELECT * FROM operations WHERE id = ?').get(id);
    return row === undefined ? undefined : operationOf(row);
  }

  /** Newest first. */
  recent(limit: number): StoredOperation[] {
    return this.#db
      .sql('SELECT * FROM operations ORDER BY started_at DESC, id LIMIT ?')
      .all(limit)
      .map(operationOf);
  }

  /** Those that have not come to an end. */
  running(): StoredOperation[] {
    return this.#db
      .sql(`SELECT * FROM operations WHERE state IN ('STARTING', 'PROCESSING') ORDER BY started_at, id`)
      .all()
      .map(operationOf);
  }

  runningOf(instance: string): StoredOperation | undefined {
    const row = this.#db
      .sql(`SELECT * FROM operations WHERE instance = ? AND state IN ('STARTING', 'PROCESSING')`)
      .get(instance);
    return row === undefined ? undefined : operationOf(row);
  }

  enter(id: string, state: StoredOperation['state'], now: number, error?: Refusal): void {
    this.#db
      .sql('UPDATE operations SET state = ?, entered_at = ?, error = ? WHERE id = ?')
      .run(state, now, error === undefined ? null : JSON.stringify(error), id);
  }

  grant(grant: Grant): void {
    this.#db.sql('INSERT INTO grants (id, document) VALUES (?, ?)').run(grant.id, JSON.stringify(grant));
    this.#db.sql('UPDATE operations SET grant_id = ? WHERE id = ?').run(grant.id, grant.appLcmOpOccId);
  }

  grantShown(id: string): Grant | undefined {
    const row = this.#db.sql('SELECT document FROM grants WHERE id = ?').get(id);
    return row === undefined ? undefined : document(row, 'document', Grant);
  }
}

function operationOf(row: Row): StoredOperation {
  return {
    id: text(row, 'id'),
    instance: text(row, 'instance'),
    operation: word(row, 'operation', OPERATIONS),
    state: word(row, 'state', STATES),
    startedAt: integer(row, 'started_at'),
    enteredAt: integer(row, 'entered_at'),
    hosts: document(row, 'hosts', Hosts),
    grant: optional(row, 'grant_id', text),
    error: optionalDocument(row, 'error', RefusalReply),
  };
}
