import { parseJson } from '@kallio/codec';
import { createParser } from 'eventsource-parser';
import type { Client } from './client.ts';

/** One server-sent event, its data parsed. */
export interface StreamEvent {
  readonly event: string;
  readonly id?: string;
  readonly data: unknown;
}

/** Events of a stream, in order, until it ends. Comments (keep-alives) are dropped. `opened` is called when it stands. */
export async function* events(
  client: Client,
  path: string,
  signal: AbortSignal,
  opened?: () => void,
): AsyncGenerator<StreamEvent> {
  const queue: StreamEvent[] = [];
  const parser = createParser({
    onEvent(message) {
      queue.push({
        event: message.event ?? 'message',
        ...(message.id === undefined ? {} : { id: message.id }),
        data: parseJson(message.data, { maxBytes: 1024 * 1024 }),
      });
    },
  });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const stream = await client.stream(path, signal);
  opened?.();
  for await (const chunk of stream) {
    parser.feed(decoder.decode(chunk, { stream: true }));
    yield* queue.splice(0);
  }
}
