import type { ServerResponse } from 'node:http';

/** Comment lines keep proxies and NATs from forgetting a quiet connection. */
const KEEP_ALIVE_MS = 15_000;

/** Long-lived answers to attesters, over which the server pushes. One for each attester: a newer one ends the older. */
export class Streams {
  readonly #open = new Map<string, ServerResponse>();

  /** Takes over `response` as this attester's stream until either side, or `untilMs` from now, ends it. */
  open(attester: string, response: ServerResponse, untilMs: number): void {
    this.end(attester);
    this.#open.set(attester, response);
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
    });
    response.write(': connected\n\n');
    const alive = setInterval(() => response.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
    const over = setTimeout(() => response.end(), untilMs);
    response.on('close', () => {
      clearInterval(alive);
      clearTimeout(over);
      if (this.#open.get(attester) === response) this.#open.delete(attester);
    });
  }

  /** Has this attester a stream open? */
  has(attester: string): boolean {
    return this.#open.get(attester)?.writableEnded === false;
  }

  /** Sends an event; false when this attester has no stream open. */
  send(attester: string, event: string, data: unknown): boolean {
    const response = this.#open.get(attester);
    if (response === undefined || response.writableEnded) return false;
    response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    return true;
  }

  /** Ends an attester's stream. */
  end(attester: string): void {
    this.#open.get(attester)?.end();
  }

  endAll(): void {
    for (const response of this.#open.values()) response.end();
  }
}
