import { createHmac } from 'node:crypto';
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { concat, utf8 } from '@kallio/codec';
import type { Logger } from 'pino';
import type { Store } from '../store/store.ts';
import type { Delivery, Webhook } from '../store/webhooks.ts';
import type { Clock } from '../time.ts';

/** Pauses after failed attempts, in seconds; after the last the event is given up (Standard Webhooks, Deliverability). */
const PAUSES = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000];
const TIMEOUT_MS = 15_000;
const MIN_MS = 20;
const MAX_MS = 1_000;
const GONE = 410;

/**
 * Tells webhooks of events: one at a time to each, all of them side by side, in order unless an attempt failed. What is
 * to be told stands in the store, so appraisal never waits for a receiver, and a restart forgets nothing.
 */
export class Deliverer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  readonly #silence: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    this.#silence = store.events.listen(() => this.#look());
    this.#look();
  }

  /** Breaks off what is under way: it is told again by the next start. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#silence();
    clearTimeout(this.#timer);
    await Promise.all(this.#underWay.values());
  }

  #look(): void {
    if (this.#stop.signal.aborted) return;
    clearTimeout(this.#timer);
    const now = this.#clock().getTime();
    for (const delivery of this.#store.webhooks.due(now)) {
      const { webhook } = delivery;
      if (this.#underWay.has(webhook)) continue;
      const work = this.#deliver(delivery)
        .catch((error: unknown) => this.#logger.error({ err: error, webhook }, 'telling a webhook failed'))
        .finally(() => {
          this.#underWay.delete(webhook);
          this.#look();
        });
      this.#underWay.set(webhook, work);
    }
    const wait = (this.#store.webhooks.nextDue() ?? Number.POSITIVE_INFINITY) - now;
    this.#timer = setTimeout(() => this.#look(), Math.min(Math.max(wait, MIN_MS), MAX_MS));
  }

  async #deliver(delivery: Delivery): Promise<void> {
    const { webhooks, events } = this.#store;
    const webhook = webhooks.get(delivery.webhook);
    const event = events.get(delivery.event);
    if (webhook === undefined || event === undefined) return;
    const body = utf8(JSON.stringify({ type: event.type, timestamp: event.at, data: event.data }));
    // The same in every attempt: the receiver knows by it what it has been told already.
    const id = `evt_${event.event}_${webhook.webhook}`;
    const outcome = await post(webhook, id, body, this.#clock(), this.#stop.signal);
    if (this.#stop.signal.aborted) return;
    const now = this.#clock().getTime();
    if (typeof outcome === 'number' && outcome >= 200 && outcome < 300) {
      // COMMIT POINT: only now the event is no more to be told. A crash before tells it again.
      webhooks.delivered(delivery);
      return;
    }
    const trouble = typeof outcome === 'number' ? `answered ${outcome}` : outcome;
    this.#logger.warn(
      { webhook: webhook.webhook, event: event.event, trouble },
      'a webhook could not be told',
    );
    if (outcome === GONE) {
      webhooks.end(webhook.webhook, trouble, now);
      return;
    }
    const pause = PAUSES[delivery.attempts];
    webhooks.failed(delivery, trouble, pause === undefined ? undefined : now + pause * 1000);
  }
}

/** `webhook-signature` of Standard Webhooks: HMAC-SHA256 over id, timestamp and body, joined by full stops. */
function signWebhook(secret: Uint8Array, id: string, timestamp: number, body: Uint8Array): string {
  const mac = createHmac('sha256', secret).update(concat(utf8(`${id}.${timestamp}.`), body));
  return `v1,${mac.digest('base64')}`;
}

/** One attempt: the status of the answer, or what went wrong. Redirects are not followed, answers are not read. */
function post(
  { url, ca, secret }: Webhook,
  id: string,
  body: Uint8Array,
  now: Date,
  signal: AbortSignal,
): Promise<number | string> {
  const timestamp = Math.floor(now.getTime() / 1000);
  const headers = {
    'content-type': 'application/json',
    'content-length': body.length,
    'user-agent': 'kallio',
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signWebhook(secret, id, timestamp, body),
  };
  const send = url.startsWith('https:') ? tlsRequest : plainRequest;
  return new Promise((resolve) => {
    const request = send(
      url,
      { method: 'POST', headers, signal, agent: false, ...(ca === undefined ? {} : { ca }) },
      (response) => {
        resolve(response.statusCode ?? 0);
        response.destroy();
      },
    );
    const late = setTimeout(() => request.destroy(new Error('no answer in time')), TIMEOUT_MS);
    request.on('close', () => clearTimeout(late));
    request.on('error', (error) => {
      const code = 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : '';
      resolve(`${error.message.slice(0, 200)}${code}`);
    });
    request.end(body);
  });
}
