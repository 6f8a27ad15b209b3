import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createServer as createTlsServer,
  getCACertificates,
  setDefaultCACertificates,
  type TLSSocket,
} from 'node:tls';
import { promisify } from 'node:util';
import { digestOf, utf8 } from '@kallio/codec';
import { createAuthority, issueServerCertificate, type KeyedCertificate } from '@kallio/pki';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { exchange } from '../src/http/exchange.ts';
import { MEDIA, Repository } from '../src/index.ts';

// Asked directly, whatever this machine asks others by.
vi.stubEnv('NO_PROXY', '*');

/* Who is spoken to over TLS, and what becomes of an answer that is cut on its way. */

const DAY = 24 * 3600 * 1000;
/** This machine by a name that is not known for one: it is asked over TLS. */
const NAME = '0.0.0.0';

let authority: KeyedCertificate;
let servers: Server[];
/** What comes with each question, and what is under it. */
let asked: string[];
let sockets: Set<Socket>;
beforeAll(async () => {
  authority = await createAuthority('registries', new Date(Date.now() - 2 * DAY), 4);
  setDefaultCACertificates([...getCACertificates(), authority.certificate]);
});
beforeEach(() => {
  servers = [];
  asked = [];
  sockets = new Set();
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
});

async function listens(server: Server, host: string): Promise<number> {
  servers.push(server);
  server.on('connection', (socket: Socket) => void sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as AddressInfo).port;
}

async function serves(
  answer: (socket: TLSSocket, raw: Socket) => void,
  {
    host = NAME,
    now = new Date(),
    by = authority,
    names = [host],
  }: { host?: string; now?: Date; by?: KeyedCertificate; names?: string[] } = {},
): Promise<number> {
  const { certificate, key } = await issueServerCertificate(by, { names, now, days: 1 });
  const server = createTlsServer({ cert: certificate, key }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      asked.push(bytes.toString('latin1'));
      answer(socket, [...sockets].at(-1) as Socket);
    });
  });
  return listens(server, host);
}

async function read(host: string, budgetMs = 5000) {
  const question = { method: 'GET', url: new URL(`https://${host}/`), headers: {}, budgetMs } as const;
  const { status, body } = await exchange(question);
  let text = '';
  for await (const piece of body) text += Buffer.from(piece).toString('latin1');
  return { status, text };
}
/** A registry at this port is one that does not answer, for this reason. */
async function unreachable(port: number, reason: string) {
  const registry = new Repository({ registry: `${NAME}:${port}`, repository: 'app' });
  const message = expect.stringContaining(`does not answer (${reason})`);
  await expect(registry.manifest('v1')).rejects.toMatchObject({ code: 'OCI_UNREACHABLE', message });
}
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody';
const here = { status: 200, text: 'body' };

describe('a registry over TLS', () => {
  it('with a certificate of this time is asked, and with one of another is told nothing', async () => {
    const now = Date.now();
    for (const [at, code] of [
      [now - 2 * DAY, 'CERT_HAS_EXPIRED'],
      [now + DAY, 'CERT_NOT_YET_VALID'],
    ] as const) {
      const port = await serves((socket) => void socket.write(ok), { now: new Date(at) });
      await expect(read(`${NAME}:${port}`)).rejects.toMatchObject({ code });
      await unreachable(port, code);
    }
    expect(asked).toEqual([]);
    expect(await read(`${NAME}:${await serves((socket) => void socket.write(ok))}`)).toEqual(here);
  });

  it('with a certificate of another name is told nothing', async () => {
    const named = (...names: string[]) => serves((socket) => void socket.write(ok), { names });
    await unreachable(await named('registry.example'), 'ERR_TLS_CERT_ALTNAME_INVALID');
    expect(asked).toEqual([]);
    expect(await read(`${NAME}:${await named('registry.example', NAME)}`)).toEqual(here);
  });

  it('is reached by an address of IPv6, which its certificate has to name', async () => {
    const port = await serves((socket) => void socket.write(ok), { host: '::1' });
    expect(await read(`[::1]:${port}`)).toEqual(here);
    expect(asked).toEqual([`GET / HTTP/1.1\r\nhost: [::1]:${port}\r\n\r\n`]);
  });

  it('is believed by an authority that NODE_EXTRA_CA_CERTS names, and by no other', async () => {
    const own = await createAuthority('own', new Date(), 1);
    const port = await serves((socket) => void socket.write(ok), { by: own });
    await unreachable(port, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
    expect(asked).toEqual([]);
    const dir = mkdtempSync(join(tmpdir(), 'kallio-'));
    writeFileSync(join(dir, 'own.pem'), own.certificate);
    const program = `
      import { exchange } from ${JSON.stringify(import.meta.resolve('../src/http/exchange.ts'))};
      const url = new URL('https://${NAME}:${port}/');
      console.log((await exchange({ method: 'GET', url, headers: {}, budgetMs: 5000 })).status);`;
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: join(dir, 'own.pem') };
    const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { env });
    expect((await ended).stdout).toBe('200\n');
    rmSync(dir, { recursive: true });
  });

  it('that does not speak it, or says nothing, is not waited for longer than said', async () => {
    const plain = await listens(
      createServer((socket) => void socket.end(ok)),
      NAME,
    );
    await unreachable(plain, 'ERR_SSL_WRONG_VERSION_NUMBER');
    const silent = await listens(createServer(), NAME);
    await expect(read(`${NAME}:${silent}`, 100)).rejects.toThrow('the time is up');
  });

  it('whose answer somebody cuts on its way gives none', async () => {
    const answers = (text: string, cut: boolean) =>
      serves((socket, raw) => socket.write(text, () => (cut ? raw.end() : socket.end())));
    const begun = ok.replace('4', '5');
    await unreachable(await answers(begun, true), 'ECONNRESET');
    expect(await read(`${NAME}:${await answers(ok, false)}`)).toEqual(here);
    // Where its end is that of the connection, nobody who reads can tell; what is read is JSON, or has a digest.
    const list = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] });
    const endless = (text: string) => `HTTP/1.1 200 OK\r\nContent-Type: ${MEDIA.index}\r\n\r\n${text}`;
    const listed = async (text: string, cut: boolean) =>
      new Repository({
        registry: `${NAME}:${await answers(endless(text), cut)}`,
        repository: 'app',
      }).referrers(digestOf(utf8('an image')), 'application/x');
    expect(await listed(list, false)).toEqual([]);
    for (const length of [1, 20, list.length - 1]) {
      await expect(listed(list.slice(0, length), true)).rejects.toMatchObject({ code: 'JSON_SYNTAX' });
    }
  });
});
