import { setTimeout as wait } from 'node:timers/promises';
import { decodeShape, KallioError } from '@kallio/codec';
import type { ServerEvent } from '@kallio/protocol';
import { EVENT_STREAM, events, eventsList, ServerEvent as Shape } from '@kallio/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';

interface EventFlags extends ServerOptions {
  readonly after?: number;
  readonly follow?: boolean;
}

/** `kallio events`: every change of state. */
export function eventsCommand(context: Context): Command {
  return serverOptions(command('events', 'changes of state, oldest first', 'kallio events --follow --json'))
    .option('--after <number>', 'only those after this one', eventNumber)
    .option('--follow', 'go on as they come; with --json, one document a line')
    .action((flags: EventFlags) => (flags.follow === true ? follow(context, flags) : list(context, flags)));
}

function eventNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be the number of an event.');
}

async function list({ output }: Context, flags: EventFlags): Promise<void> {
  const events = await withServer(flags, async (client) => {
    const all: ServerEvent[] = [];
    for (let after = flags.after ?? 0; ; ) {
      const page = await client.call(eventsList, { query: { after, limit: 1000 } });
      all.push(...page.events);
      const last = page.events.at(-1);
      if (last === undefined || last.event >= page.last) return all;
      after = last.event;
    }
  });
  output.result(
    { events },
    events.length === 0 ? 'Nothing has changed yet.' : events.map(describe).join('\n'),
  );
}

/** Follows until told to stop, over ends of the stream and restarts of the server. */
async function follow({ output }: Context, flags: EventFlags): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  await withServer(flags, async (client) => {
    let after: number = flags.after ?? (await client.call(eventsList, { query: { limit: 1 } })).last;
    while (!stop.signal.aborted) {
      try {
        for await (const { data } of events(client, `${EVENT_STREAM}?after=${after}`, stop.signal)) {
          const event: ServerEvent = decodeShape(Shape, data, 'REPLY_INVALID', 'An event');
          after = event.event;
          output.item(event, describe(event));
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!(error instanceof KallioError) || error.code !== 'SERVER_UNREACHABLE') throw error;
        output.progress('The server is away; trying again.');
      }
      await wait(1000, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  });
}

function describe(event: ServerEvent): string {
  return `${String(event.event).padStart(6)}  ${event.at}  ${event.type.padEnd(16)}  ${what(event)}`;
}

function what(event: ServerEvent): string {
  switch (event.type) {
    case 'attester.state':
    case 'instance.state': {
      const { from, to, reasons } = event.data;
      const subject =
        event.type === 'attester.state'
          ? event.data.attester
          : `${event.data.instance} on ${event.data.attester}`;
      return `${subject}: ${from} → ${to}${reasons[0] === undefined ? '' : `  ${reasons[0].code}`}`;
    }
    case 'claim.decided': {
      const { attester, state, by, reason } = event.data;
      return `${attester}: ${state} by ${by}${reason === undefined ? '' : `  ${reason.code}`}`;
    }
    default: {
      const { session, attester, reason } = event.data;
      return `${session} of ${attester}${reason === undefined ? '' : `  ${reason.code}`}`;
    }
  }
}
