import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, events, route } from '@kallio/protocol';
import { Type } from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const things = route({
  method: 'GET',
  path: '/things',
  access: ['public'],
  summary: 'Things',
  reply: Type.Array(Type.String()),
});

let server: Server;
let client: Client;
let directory: string;
let answer: (response: ServerResponse) => void;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-client-'));
  server = createServer((_, response) => answer(response));
  const socket = join(directory, 'socket');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  client = new Client({ url: `unix:${socket}` });
});
afterEach(async () => {
  await client.close();
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true });
});

/** Sends something, then breaks the connection as a server does that is killed. */
function breakAfter(text: string) {
  return (response: ServerResponse) => {
    response.writeHead(200);
    response.write(text, () => response.destroy());
  };
}

describe('a connection that breaks', () => {
  it('in the middle of a stream is a server that can’t be reached, not a fault of this program', async () => {
    const seen: string[] = [];
    const follow = async () => {
      for await (const { event } of events(client, '/events', new AbortController().signal)) seen.push(event);
    };
    answer = breakAfter('event: attest\ndata: {}\n\n');
    await expect(follow()).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
    expect(seen).toEqual(['attest']);

    answer = (response) => response.end('event: attest\ndata: {}\n\n');
    await follow();
    expect(seen).toEqual(['attest', 'attest']);
  });

  it('in the middle of an answer likewise', async () => {
    answer = breakAfter('["one",');
    await expect(client.call(things, {})).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
    answer = (response) => response.end('["one","two"]');
    expect(await client.call(things, {})).toEqual(['one', 'two']);
  });
});

describe('a server that goes on in another protocol', () => {
  it('is one that does not answer', async () => {
    answer = (response) => response.end('[]');
    expect(await client.call(things, {})).toEqual([]);
    answer = (response) => response.writeHead(101, { connection: 'upgrade', upgrade: 'x' }).end();
    await expect(client.call(things, {})).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
  });
});

describe('a server that takes its time', () => {
  const patient = (timeoutMs: number) => new Client({ url: `unix:${join(directory, 'socket')}`, timeoutMs });

  it('is waited for as long as was said, before the answer and within it', async () => {
    for (const slow of [
      (response: ServerResponse) => setTimeout(() => response.end('[]'), 300),
      (response: ServerResponse) => response.write('[', () => setTimeout(() => response.end(']'), 300)),
    ]) {
      answer = (response) => void slow(response);
      for (const [timeoutMs, outcome] of [
        [5000, []],
        [100, 'AGENT_UNREACHABLE'],
      ] as const) {
        const asking = patient(timeoutMs);
        const reply = asking.call(things, {});
        if (outcome === 'AGENT_UNREACHABLE') await expect(reply).rejects.toMatchObject({ code: outcome });
        else expect(await reply).toEqual(outcome);
        await asking.close();
      }
    }
  });

  it('still answers what was asked before the client was closed', async () => {
    const asking = patient(5000);
    answer = (response) => setTimeout(() => response.end('["late"]'), 200);
    const reply = asking.call(things, {});
    let closed = false;
    const closing = asking.close().then(() => {
      closed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(closed).toBe(false);
    expect(await reply).toEqual(['late']);
    await closing;
  });

  it('may be silent for longer on a stream', async () => {
    const listening = patient(100);
    answer = (response) =>
      response.write(':\n\n', () => setTimeout(() => response.end('event: attest\ndata: {}\n\n'), 400));
    const seen: string[] = [];
    for await (const { event } of events(listening, '/events', new AbortController().signal))
      seen.push(event);
    expect(seen).toEqual(['attest']);
    await listening.close();
  });
});

describe('a kept connection that the server closes', () => {
  it('costs no question that may be asked twice', async () => {
    let asked = 0;
    answer = (response) => {
      // The second question on a connection finds it closed.
      if (++asked === 2) response.socket?.destroy();
      else response.end('[]');
    };
    expect(await client.call(things, {})).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await client.call(things, {})).toEqual([]);
    expect(asked).toBe(3);
    asked = 0;
    expect(await client.call(things, {})).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await expect(client.raw('POST', '/things', {})).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
    expect(asked).toBe(2);
  });
});
