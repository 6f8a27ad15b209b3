import { decodeShape, parseJson } from '@kallio/codec';
import { ServerEvent } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, type Row, text } from '@kallio/store';
import { isoTime } from '../time.ts';

/** An event before it has its number. */
export type NewEvent = ServerEvent extends infer E
  ? E extends ServerEvent
    ? Pick<E, 'type' | 'data'>
    : never
  : never;

/** Waiting events of one webhook at most; what comes on top is given up, so that a receiver that is away costs little. */
const MAX_WAITING = 10_000;

/** Every change of state, in order, and who is still to be told of it. */
export class Events {
  readonly #db: Database;
  readonly #listeners = new Set<() => void>();
  #woken = false;

  constructor(db: Database) {
    this.#db = db;
  }

  /**
   * Appends an event, and puts it down for every webhook that wants its type. Call it in the transaction that makes the
   * change: either both are there or none.
   */
  append({ type, data }: NewEvent, at: number): void {
    const row = this.#db
      .sql('INSERT INTO events (at, type, data) VALUES (?, ?, ?) RETURNING event')
      .get(at, type, JSON.stringify(data));
    this.#db
      .sql(
        `INSERT INTO deliveries (webhook, event, state, attempts, due_at, trouble)
           SELECT webhook, ?, iif(full, 'dead', 'waiting'), 0, ?, iif(full, 'too many events wait', NULL) FROM (
             SELECT webhook, (SELECT count(*) FROM deliveries AS d WHERE d.webhook = w.webhook AND state = 'waiting') >= ?
               AS full FROM webhooks AS w
             WHERE ended_at IS NULL AND (types = '[]' OR EXISTS (SELECT 1 FROM json_each(types) WHERE value = ?)))`,
      )
      .run(integer(row ?? {}, 'event'), at, MAX_WAITING, type);
    this.#wake();
  }

  /** The next events after number `event`. */
  after(event: number, limit: number): ServerEvent[] {
    return this.#db
      .sql('SELECT * FROM events WHERE event > ? ORDER BY event LIMIT ?')
      .all(event, limit)
      .map(eventOf);
  }

  get(event: number): ServerEvent | undefined {
    const row = this.#db.sql('SELECT * FROM events WHERE event = ?').get(event);
    return row === undefined ? undefined : eventOf(row);
  }

  /** Number of the last event; 0 before there is one. */
  last(): number {
    const row = this.#db.sql('SELECT coalesce(max(event), 0) AS last FROM events').get();
    return integer(row ?? {}, 'last');
  }

  /** Calls `heard` when events may have come. Gives what ends that. */
  listen(heard: () => void): () => void {
    this.#listeners.add(heard);
    return () => void this.#listeners.delete(heard);
  }

  /** Forgets events older than `before`, but those that a webhook is still to be told. */
  prune(before: number): void {
    this.#db
      .sql(`DELETE FROM deliveries WHERE state = 'dead' AND event IN (SELECT event FROM events WHERE at < ?)`)
      .run(before);
    this.#db
      .sql('DELETE FROM events WHERE at < ? AND event NOT IN (SELECT event FROM deliveries)')
      .run(before);
  }

  #wake(): void {
    if (this.#woken) return;
    this.#woken = true;
    // Transactions are synchronous: by then this one is committed, or gone.
    setImmediate(() => {
      this.#woken = false;
      for (const heard of this.#listeners) heard();
    });
  }
}

function eventOf(row: Row): ServerEvent {
  const event = {
    event: integer(row, 'event'),
    at: isoTime(integer(row, 'at')),
    type: text(row, 'type'),
    data: parseJson(text(row, 'data')),
  };
  return decodeShape(ServerEvent, event, 'STORE_CORRUPT', 'A stored event');
}
