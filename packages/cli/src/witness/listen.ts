import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MAX_ADD_CHECKPOINT, type Witness } from '@kallio/tlog';

const TIMEOUT_MS = 10_000;

/** Answers add-checkpoint (C2SP tlog-witness) at an address; its port, and how to end it. `tell` is told what goes wrong. */
export async function listen(witness: Witness, host: string, port: number, tell: (trouble: string) => void) {
  const server: Server = createServer((request, response) => {
    const answer = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'content-type': type }).end(body);
    };
    const plain = (status: number, body: string) => answer(status, 'text/plain; charset=utf-8', body);
    if (request.method !== 'POST' || request.url !== '/add-checkpoint') {
      plain(404, 'This is a witness: it answers POST /add-checkpoint.\n');
      return;
    }
    void bodyOf(request).then(
      async (body) => {
        if (body === undefined) return plain(413, 'That is no checkpoint: it is too long.\n');
        try {
          const { status, type, body: said } = await witness.addCheckpoint(body);
          return answer(status, type, said);
        } catch (error) {
          // What can't be kept is not signed; whoever asks next may find room again.
          tell(`no checkpoint was signed: ${error instanceof Error ? error.message : String(error)}`);
          return plain(500, 'This witness can’t keep what it sees.\n');
        }
      },
      () => response.destroy(),
    );
  });
  server.requestTimeout = TIMEOUT_MS;
  server.headersTimeout = TIMEOUT_MS;
  server.listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The body, or nothing when it is longer than a request can be. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > MAX_ADD_CHECKPOINT) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
