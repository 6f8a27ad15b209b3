import type { Refusal } from '@kallio/codec';
import { RefusalReply } from '@kallio/protocol';
import { type Database, integer, optional, type Row, text } from '@kallio/store';
import { optionalDocument } from './documents.ts';

/** An application instance as it is kept. */
export interface StoredInstance {
  readonly id: string;
  readonly name: string | undefined;
  readonly package: string;
  /** The device that was told to run it, until that device has said that it is gone. */
  readonly device: string | undefined;
  /** Has the device said that it started? */
  readonly running: boolean;
  readonly address: string | undefined;
  readonly refusal: Refusal | undefined;
}

/** Application instances. */
export class Instances {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  create(id: string, name: string | undefined, packageId: string, now: number): void {
    this.#db
      .sql('INSERT INTO instances (id, created_at, name, package) VALUES (?, ?, ?, ?)')
      .run(id, now, name ?? null, packageId);
  }

  get(id: string): StoredInstance | undefined {
    const row = this.#db.sql('SELECT * FROM instances WHERE id = ?').get(id);
    return row === undefined ? undefined : instanceOf(row);
  }

  all(): StoredInstance[] {
    return this.#db.sql('SELECT * FROM instances ORDER BY created_at, id').all().map(instanceOf);
  }

  /** How many instances each device has been told to run. */
  load(): ReadonlyMap<string, number> {
    const rows = this.#db
      .sql('SELECT device, count(*) AS n FROM instances WHERE device IS NOT NULL GROUP BY device')
      .all();
    return new Map(rows.map((row) => [text(row, 'device'), integer(row, 'n')]));
  }

  /** It was placed: from now on it may be running there. */
  place(id: string, device: string): void {
    this.#db
      .sql('UPDATE instances SET device = ?, running = 0, address = NULL, refusal = NULL WHERE id = ?')
      .run(device, id);
  }

  started(id: string, address: string | undefined): void {
    this.#db.sql('UPDATE instances SET running = 1, address = ? WHERE id = ?').run(address ?? null, id);
  }

  /** The device has said that nothing of it runs there. */
  gone(id: string): void {
    this.#db.sql('UPDATE instances SET device = NULL, running = 0, address = NULL WHERE id = ?').run(id);
  }

  refuse(id: string, refusal: Refusal): void {
    this.#db.sql('UPDATE instances SET refusal = ? WHERE id = ?').run(JSON.stringify(refusal), id);
  }

  delete(id: string): void {
    this.#db.sql('DELETE FROM instances WHERE id = ?').run(id);
  }
}

function instanceOf(row: Row): StoredInstance {
  return {
    id: text(row, 'id'),
    name: optional(row, 'name', text),
    package: text(row, 'package'),
    device: optional(row, 'device', text),
    running: integer(row, 'running') === 1,
    address: optional(row, 'address', text),
    refusal: optionalDocument(row, 'refusal', RefusalReply),
  };
}
