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
