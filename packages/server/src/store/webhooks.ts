import { decodeShape, parseJson } from '@kallio/codec';
import { EventType, type WebhookView } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { blob, integer, optional, type Row, text } from '@kallio/store';
import { Type } from 'typebox';
import { isoTime } from '../time.ts';

/** Who is told of events, and how. */
export interface Webhook {
  readonly webhook: string;
  readonly url: string;
  readonly types: readonly EventType[];
  /** Key of the HMAC. */
  readonly secret: Uint8Array;
  /** PEM. */
  readonly ca?: string;
}

/** An event that a webhook is to be told. */
export interface Delivery {
  readonly webhook: string;
  readonly event: number;
  /** Attempts that failed. */
  readonly attempts: number;
}

const Types = Type.Array(EventType);

/** Webhooks, and the events that they are still to be told: durable, so that a restart forgets none. */
export class Webhooks {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  insert({ webhook, url, types, secret, ca }: Webhook, by: string, at: number): void {
    this.#db
      .sql(
        'INSERT INTO webhooks (webhook, url, types, secret, ca, made_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      )
      .run(webhook, url, JSON.stringify(types), secret, ca ?? null, by, at);
  }

  get(webhook: string): Webhook | undefined {
    const row = this.#db.sql('SELECT * FROM webhooks WHERE webhook = ?').get(webhook);
    if (row === undefined) return undefined;
    const ca = optional(row, 'ca', text);
    return {
      webhook,
      url: text(row, 'url'),
      types: typesOf(row),
      secret: blob(row, 'secret'),
      ...(ca === undefined ? {} : { ca }),
    };
  }

  count(): number {
    return integer(this.#db.sql('SELECT count(*) AS n FROM webhooks').get() ?? {}, 'n');
  }

  list(): WebhookView[] {
    return this.#db
      .sql(
        `SELECT *, (SELECT count(*) FROM deliveries AS d WHERE d.webhook = w.webhook AND state = 'waiting') AS waiting,
           (SELECT count(*) FROM deliveries AS d WHERE d.webhook = w.webhook AND state = 'dead') AS dead,
           (SELECT trouble FROM deliveries AS d WHERE d.webhook = w.webhook AND trouble IS NOT NULL
             ORDER BY event DESC LIMIT 1) AS trouble
           FROM webhooks AS w ORDER BY created_at, webhook`,
      )
      .all()
      .map(viewOf);
  }

  remove(webhook: string): boolean {
    return Number(this.#db.sql('DELETE FROM webhooks WHERE webhook = ?').run(webhook).changes) === 1;
  }

  /** Tells a webhook nothing more: what waits is given up. */
  end(webhook: string, trouble: string, at: number): void {
    this.#db.transaction(() => {
      this.#db.sql('UPDATE webhooks SET ended_at = ? WHERE webhook = ?').run(at, webhook);
      this.#db
        .sql(`UPDATE deliveries SET state = 'dead', trouble = ? WHERE webhook = ? AND state = 'waiting'`)
        .run(trouble, webhook);
    });
  }

  /** Webhooks that are to be told something by now, each with what it is to be told first. */
  due(now: number): Delivery[] {
    return this.#db
      .sql(
        `SELECT webhook, min(event) AS event, attempts FROM deliveries WHERE state = 'waiting' AND due_at <= ?
           GROUP BY webhook`,
      )
      .all(now)
      .map((row) => ({
        webhook: text(row, 'webhook'),
        event: integer(row, 'event'),
        attempts: integer(row, 'attempts'),
      }));
  }

  /** When something is due next. */
  nextDue(): number | undefined {
    const row = this.#db
      .sql(`SELECT due_at FROM deliveries WHERE state = 'waiting' ORDER BY due_at LIMIT 1`)
      .get();
    return row === undefined ? undefined : integer(row, 'due_at');
  }

  delivered({ webhook, event }: Delivery): void {
    this.#db.sql('DELETE FROM deliveries WHERE webhook = ? AND event = ?').run(webhook, event);
  }

  /** An attempt failed. `dueAt`: when the next is; none, and the event is given up. */
  failed({ webhook, event }: Delivery, trouble: string, dueAt: number | undefined): void {
    this.#db
      .sql(
        `UPDATE deliveries SET attempts = attempts + 1, trouble = ?, state = ?, due_at = coalesce(?, due_at)
           WHERE webhook = ? AND event = ?`,
      )
      .run(trouble, dueAt === undefined ? 'dead' : 'waiting', dueAt ?? null, webhook, event);
  }
}

function typesOf(row: Row): EventType[] {
  return decodeShape(Types, parseJson(text(row, 'types')), 'STORE_CORRUPT', 'A stored webhook');
}

function viewOf(row: Row): WebhookView {
  const trouble = optional(row, 'trouble', text);
  return {
    webhook: text(row, 'webhook'),
    url: text(row, 'url'),
    events: typesOf(row),
    createdAt: isoTime(integer(row, 'created_at')),
    waiting: integer(row, 'waiting'),
    dead: integer(row, 'dead'),
    ...(trouble === undefined ? {} : { trouble }),
    ended: optional(row, 'ended_at', integer) !== undefined,
  };
}
