import { DeviceOrder, DeviceReport } from '@kallio/protocol';
import { type Database, integer, type Row, text } from '@kallio/store';
import { document, optionalDocument } from './documents.ts';

/** An order to a device as it is kept. */
export interface StoredOrder {
  readonly operation: string;
  readonly attester: string;
  readonly createdAt: number;
  readonly order: DeviceOrder;
  readonly report: DeviceReport | undefined;
}

/** What devices were told, and what they answered. */
export class Orders {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  give(operation: string, attester: string, order: DeviceOrder, now: number): void {
    this.#db
      .sql('INSERT INTO orders (id, operation, attester, created_at, document) VALUES (?, ?, ?, ?, ?)')
      .run(order.order, operation, attester, now, JSON.stringify(order));
  }

  get(id: string): StoredOrder | undefined {
    const row = this.#db.sql('SELECT * FROM orders WHERE id = ?').get(id);
    return row === undefined ? undefined : orderOf(row);
  }

  /** The newest order of an operation. */
  lastOf(operation: string): StoredOrder | undefined {
    const row = this.#db
      .sql('SELECT * FROM orders WHERE operation = ? ORDER BY created_at DESC, rowid DESC LIMIT 1')
      .get(operation);
    return row === undefined ? undefined : orderOf(row);
  }

  /** What a device has not answered and still should, oldest first. */
  openOf(attester: string): StoredOrder[] {
    return this.#db
      .sql(
        `SELECT * FROM orders WHERE attester = ? AND report IS NULL AND withdrawn = 0 ORDER BY created_at, rowid`,
      )
      .all(attester)
      .map(orderOf);
  }

  answer(id: string, report: DeviceReport): void {
    this.#db.sql('UPDATE orders SET report = ? WHERE id = ?').run(JSON.stringify(report), id);
  }

  /** It is not sent again. A device that carries it out all the same is told to stop. */
  withdraw(operation: string): void {
    this.#db.sql('UPDATE orders SET withdrawn = 1 WHERE operation = ? AND report IS NULL').run(operation);
  }
}

function orderOf(row: Row): StoredOrder {
  return {
    operation: text(row, 'operation'),
    attester: text(row, 'attester'),
    createdAt: integer(row, 'created_at'),
    order: document(row, 'document', DeviceOrder),
    report: optionalDocument(row, 'report', DeviceReport),
  };
}
