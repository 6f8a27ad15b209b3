import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { digestOf, utf8 } from '@kallio/codec';
import { createAuthority, issueServerCertificate } from '@kallio/pki';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { exchange } from '../src/http/exchange.ts';
import { MEDIA, Repository } from '../src/index.ts';

// Asked directly, whatever this machine asks others by.
vi.stubEnv('NO_PROXY', '*');

/*
 * Where a registry leads whoever asks it: by a redirect, or by the address for an upload. Over TLS it leads to nowhere
 * without, and from this machine to no other that is spoken to without TLS.
 */

const blob = utf8('what only the registry should get');
const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
const credentials = async () => ({ username: 'builder', password: 'secret' });
const refusal = (code: string) => expect.objectContaining({ code });
/** This machine by a name that is not known for one: it is asked over TLS. */
const ELSEWHERE = '0.0.0.0';

let secure: Server;
let plain: Server;
/** What came, and with which credentials. */
let came: { readonly server: string; readonly method: string; readonly credentials: boolean }[];
/** Where the registry under `app` leads to. */
let location: string;
/** How it asks who asks. */
let challenge: string;

const portOf = (server: Server) => (server.address() as AddressInfo).port;

function answers(server: string) {
  return (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '', headers } = request;
    // A registry wants to know who asks; where it leads, nobody does.
    if (headers.authorization === undefined && url.startsWith('/v2/')) {
      request.resume();
      return response.writeHead(401, { 'www-authenticate': challenge }).end();
    }
    came.push({ server, method, credentials: headers.authorization !== undefined });
    request.resume();
    if (url.startsWith('/token')) return response.end('{"token":"abc"}');
    if (method === 'HEAD') return response.writeHead(404).end();
    if (method === 'PUT') return response.writeHead(201).end();
    if (method === 'POST') return response.writeHead(202, { location }).end();
    if (url === '/there') return response.writeHead(200, { 'content-type': MEDIA.index }).end(index);
    return response.writeHead(307, { location }).end();
  };
}

beforeAll(async () => {
  const now = new Date();
  const authority = await createAuthority('registries', now, 1);
  const { certificate, key } = await issueServerCertificate(authority, { names: [ELSEWHERE], now, days: 1 });
  setDefaultCACertificates([...getCACertificates(), authority.certificate]);
  secure = createTlsServer({ cert: certificate, key }, answers('secure'));
  plain = createServer(answers('plain'));
  for (const one of [secure, plain]) await new Promise<void>((resolve) => one.listen(0, ELSEWHERE, resolve));
});
afterAll(async () => {
  for (const one of [secure, plain]) {
    one.closeAllConnections();
    await new Promise((resolve) => one.close(resolve));
  }
});
beforeEach(() => {
  came = [];
  challenge = 'Basic realm="images"';
});

const overTls = () =>
  new Repository({ registry: `${ELSEWHERE}:${portOf(secure)}`, repository: 'app', credentials });
const onThisMachine = () =>
  new Repository({ registry: `127.0.0.1:${portOf(plain)}`, repository: 'app', credentials });
const secureAddress = () => `https://${ELSEWHERE}:${portOf(secure)}/there`;
const thisMachine = () => `http://127.0.0.1:${portOf(plain)}/there`;
const otherMachine = () => `http://${ELSEWHERE}:${portOf(plain)}/there`;

describe('a registry', () => {
  it('leads a reader from TLS to TLS only', async () => {
    location = secureAddress();
    await expect(overTls().manifest('v1')).resolves.toMatchObject({ mediaType: MEDIA.index });
    for (location of [otherMachine(), thisMachine()]) {
      await expect(overTls().manifest('v1')).rejects.toThrow(refusal('OCI_REGISTRY'));
    }
    expect(came.filter(({ server }) => server === 'plain')).toEqual([]);
  });

  it('leads what is uploaded from TLS to TLS only', async () => {
    location = secureAddress();
    await overTls().pushBlob(blob);
    expect(came.at(-1)).toEqual({ server: 'secure', method: 'PUT', credentials: true });
    for (location of [otherMachine(), thisMachine()]) {
      await expect(overTls().pushBlob(blob)).rejects.toThrow(refusal('OCI_REGISTRY'));
    }
    expect(came.filter(({ server }) => server === 'plain')).toEqual([]);
  });

  it('on this machine leads to no other one without TLS', async () => {
    const digest = digestOf(index);
    for (location of [thisMachine(), secureAddress()]) {
      await expect(onThisMachine().manifest(digest)).resolves.toMatchObject({ digest });
      await onThisMachine().pushBlob(blob);
    }
    came = [];
    location = otherMachine();
    await expect(onThisMachine().manifest(digest)).rejects.toThrow(refusal('OCI_REGISTRY'));
    await expect(onThisMachine().pushBlob(blob)).rejects.toThrow(refusal('OCI_REGISTRY'));
    expect(came.map(({ method }) => method)).toEqual(['GET', 'HEAD', 'POST']);
  });

  it('is sent the credentials, and nobody that it leads to on another port', async () => {
    location = secureAddress();
    await onThisMachine().manifest('v1');
    await onThisMachine().pushBlob(blob);
    expect(came.filter(({ credentials }) => credentials).map(({ server }) => server)).toEqual(
      came.filter(({ server }) => server === 'plain').map(() => 'plain'),
    );
    expect(came.filter(({ server }) => server === 'secure').map(({ method }) => method)).toEqual([
      'GET',
      'PUT',
    ]);
  });

  it('has its tokens made over TLS if it is asked over it, and by no other machine without', async () => {
    location = secureAddress();
    const realms = [secureAddress(), thisMachine(), otherMachine()].map(
      (address) => new URL('/token', address),
    );
    const asked = async (repository: Repository, realm: URL | undefined) => {
      came = [];
      challenge = `Bearer realm="${realm}"`;
      const code = await repository.manifest('v1').then(
        () => 'read',
        ({ code }: { code: string }) => code,
      );
      return [code, ...came.filter(({ credentials }) => credentials).map(({ server }) => server)];
    };
    const [secureRealm, thisRealm, otherRealm] = realms;
    expect(await asked(overTls(), secureRealm)).toEqual(['read', 'secure', 'secure', 'secure']);
    expect(await asked(overTls(), thisRealm)).toEqual(['OCI_REGISTRY']);
    expect(await asked(overTls(), otherRealm)).toEqual(['OCI_REGISTRY']);
    expect(await asked(onThisMachine(), secureRealm)).toEqual(['read', 'secure', 'plain']);
    expect(await asked(onThisMachine(), thisRealm)).toEqual(['read', 'plain', 'plain']);
    expect(await asked(onThisMachine(), otherRealm)).toEqual(['OCI_REGISTRY']);
  });

  it('whose certificate is of another name, or of nobody who is known, is told nothing', async () => {
    const ask = (server: Server, name: string) =>
      exchange({
        method: 'GET',
        url: new URL(`https://${name}:${portOf(server)}/there`),
        headers: { authorization: 'Basic secret' },
        budgetMs: 5000,
      });
    const honest = await ask(secure, ELSEWHERE);
    expect([honest.status, came.length]).toEqual([200, 1]);
    honest.drop();
    came = [];
    await expect(ask(secure, '127.0.0.1')).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    const now = new Date();
    const authority = await createAuthority('nobody', now, 1);
    const { certificate, key } = await issueServerCertificate(authority, {
      names: [ELSEWHERE],
      now,
      days: 1,
    });
    const nobody = createTlsServer({ cert: certificate, key }, answers('nobody'));
    await new Promise<void>((resolve) => nobody.listen(0, ELSEWHERE, resolve));
    await expect(ask(nobody, ELSEWHERE)).rejects.toThrow(/certificate/);
    await new Promise((resolve) => nobody.close(resolve));
    expect(came).toEqual([]);
  });

  it('that would go on in another protocol is one that does not answer', async () => {
    const switching = createTcpServer((connection) => {
      connection.on('error', () => undefined);
      connection.once('data', () =>
        connection.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
      );
    });
    await new Promise<void>((resolve) => switching.listen(0, '127.0.0.1', resolve));
    const { port } = switching.address() as AddressInfo;
    const registry = new Repository({ registry: `127.0.0.1:${port}`, repository: 'app' });
    await expect(registry.manifest('v1')).rejects.toThrow(refusal('OCI_UNREACHABLE'));
    await new Promise((resolve) => switching.close(resolve));
  });
});
