import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { KallioError } from '@kallio/codec';
import type { ProtocolCode } from '@kallio/protocol';
import type { Events } from '../store/events.ts';

/** Comment lines keep proxies and NATs from forgetting a quiet connection. */
const KEEP_ALIVE_MS = 15_000;
/** A stream ends after this long: whoever reads on shows its token again. */
const STREAM_MS = 600_000;
const AT_ONCE = 256;
const MAX_STREAMS = 256;

/** Streams of events to viewers. Each reads from the store at its own pace, so a slow one costs nothing but itself. */
export class EventStreams {
  readonly #events: Events;
  readonly #open = new Set<ServerResponse>();

  constructor(events: Events) {
    this.#events = events;
  }

  /** Throws `SERVER_BUSY` while too many are read. */
  requireRoom(): void {
    if (this.#open.size < MAX_STREAMS) return;
    throw new KallioError('SERVER_BUSY' satisfies ProtocolCode, 'Too many streams of events are open.');
  }

  /** Takes over `response`: events after number `after`, as they come. */
  open(response: ServerResponse, after: number): void {
    this.#open.add(response);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(': connected\n\n');
    const alive = setInterval(() => response.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
    const over = setTimeout(() => response.end(), STREAM_MS);
    let cursor = after;
    let writing = false;
    const write = async () => {
      if (writing) return;
      writing = true;
      try {
        for (let more = true; more && response.writable; ) {
          const events = this.#events.after(cursor, AT_ONCE);
          for (const event of events) {
            cursor = event.event;
            const text = `id: ${event.event}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
            // Who does not read is waited for, not written into memory for.
            if (!response.write(text)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
          }
          more = events.length === AT_ONCE;
        }
      } catch {
        response.destroy();
      } finally {
        writing = false;
      }
    };
    const silence = this.#events.listen(() => void write());
    response.on('close', () => {
      silence();
      clearInterval(alive);
      clearTimeout(over);
      this.#open.delete(response);
    });
    void write();
  }

  endAll(): void {
    for (const response of this.#open) response.end();
  }
}
