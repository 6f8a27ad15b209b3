import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { type AddressInfo, createServer as createNetServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { inspect, promisify } from 'node:util';
import { utf8 } from '@kallio/codec';
import { createAuthority, issueServerCertificate, type KeyedCertificate } from '@kallio/pki';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { proxyFor } from '../src/http/proxy.ts';
import { openTunnel } from '../src/http/tunnel.ts';
import { MEDIA, Repository } from '../src/index.ts';
import { type ForwardProxy, startForwardProxy } from './support/forward-proxy.ts';

/* Registries that are reached by a proxy, as the environment says, and proxies that are none or more than that. */

/** This machine, by an address that is not known for it: it is asked over TLS, and by the proxy. */
const NAME = '0.0.0.0';
const PASSWORD = 'p@ss:word/of the proxy';
const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));

let authority: KeyedCertificate;
let proxy: ForwardProxy;
let stops: (() => Promise<unknown>)[];
/** What came to registries, with what. */
let came: string[];

beforeAll(async () => {
  authority = await createAuthority('registries', new Date(), 1);
  setDefaultCACertificates([...getCACertificates(), authority.certificate]);
});
beforeEach(async () => {
  for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY', 'ALL_PROXY']) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
  came = [];
  proxy = await startForwardProxy();
  stops = [() => proxy.stop()];
  vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const stop of stops) await stop();
});

async function listening(server: Server, host: string): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => void sockets.add(socket.on('error', () => undefined)));
  stops.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as AddressInfo).port;
}

async function certified(host: string, by = authority) {
  const { certificate, key } = await issueServerCertificate(by, { names: [host], now: new Date(), days: 1 });
  return { cert: certificate, key };
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const gives: Answer = (_, response) =>
  void response.writeHead(200, { 'content-type': MEDIA.index }).end(index);

/** A registry over TLS; the port that it listens on. */
async function registry(answer: Answer = gives, host = NAME, by = authority): Promise<number> {
  const server = createServer(await certified(host, by), (request, response) => {
    came.push(`${request.url} ${JSON.stringify(request.headers)}`);
    answer(request, response);
  });
  return listening(server, host);
}

const read = (port: number, credentials?: { username: string; password: string }) =>
  new Repository({
    registry: `${NAME}:${port}`,
    repository: 'app',
    ...(credentials && { credentials: async () => credentials }),
  }).manifest('v1');
const there = { mediaType: MEDIA.index };

/** What goes wrong; nothing secret is in what is logged of it. */
async function failure(done: Promise<unknown>): Promise<unknown> {
  const error: unknown = await done.then(
    () => expect.fail('nothing went wrong'),
    (why: unknown) => why,
  );
  const shown = inspect(error, { depth: 9, showHidden: true });
  for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), basic('who', PASSWORD), 'Basic '])
    expect(shown).not.toContain(secret);
  return error;
}
const basic = (username: string, password: string) =>
  Buffer.from(`${username}:${password}`).toString('base64');
const asking = (proxyPort: number) => `http://who:${encodeURIComponent(PASSWORD)}@127.0.0.1:${proxyPort}`;
const refusal = (message: string, hint: RegExp) => ({
  code: 'OCI_PROXY',
  message: expect.stringContaining(message),
  hint: expect.stringMatching(hint),
});

describe('a proxy', () => {
  it('leads to a registry, and sees nothing of what is said there', async () => {
    const port = await registry((request, response) => {
      if (request.headers.authorization !== undefined) return gives(request, response);
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    });
    const builder = { username: 'builder', password: 'of the registry' };
    await expect(read(port, builder)).resolves.toMatchObject(there);
    expect(came).toHaveLength(2);
    // Two questions, one way.
    expect(proxy.asked).toEqual([`${NAME}:${port}`]);
    expect(proxy.told).toEqual([`${NAME}:${port} host ${NAME}:${port}`]);
    const seen = Buffer.concat(proxy.seen).toString('latin1');
    // The first of TLS: a handshake. After it nothing that can be read.
    expect(seen.slice(0, 2)).toBe('\x16\x03');
    for (const word of ['manifests', 'authorization', basic('builder', 'of the registry'), 'HTTP/1.1'])
      expect(seen).not.toContain(word);
  });

  it('over TLS leads there too, if its authority is known', async () => {
    const port = await registry();
    const tls = await startForwardProxy(await certified('127.0.0.1'));
    const other = await createAuthority('other', new Date(), 1);
    const unknown = await startForwardProxy(await certified('127.0.0.1', other));
    stops.push(
      () => tls.stop(),
      () => unknown.stop(),
    );
    vi.stubEnv('HTTPS_PROXY', `https://127.0.0.1:${tls.port}`);
    await expect(read(port)).resolves.toMatchObject(there);
    expect(tls.asked).toEqual([`${NAME}:${port}`]);
    vi.stubEnv('HTTPS_PROXY', `https://who:${encodeURIComponent(PASSWORD)}@127.0.0.1:${unknown.port}`);
    expect(await failure(read(port))).toMatchObject(
      refusal(
        `127.0.0.1:${unknown.port} does not answer as one (UNABLE_TO_VERIFY_LEAF_SIGNATURE)`,
        /HTTPS_PROXY/,
      ),
    );
    expect(unknown.asked).toEqual([]);
  });

  it('is told who asks it, and nobody else is', async () => {
    const port = await registry();
    const knows: ForwardProxy['answers'] = ({ headers }) =>
      headers['proxy-authorization'] === `Basic ${basic('who', PASSWORD)}`
        ? undefined
        : `HTTP/1.1 407 ${headers['proxy-authorization']}\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n`;
    proxy.answers = knows;
    vi.stubEnv('HTTPS_PROXY', asking(proxy.port));
    await expect(read(port)).resolves.toMatchObject(there);
    expect(came.join()).not.toMatch(/proxy-authorization/i);
    came = [];
    vi.stubEnv('HTTPS_PROXY', `127.0.0.1:${proxy.port}`);
    expect(await failure(read(port))).toMatchObject(
      refusal('wants to know who asks (407)', /user and password in HTTPS_PROXY .*NO_PROXY/),
    );
    // Another place: a way that stands is used again.
    const other = await registry();
    proxy.answers = ({ headers }) => `HTTP/1.1 407 ${headers['proxy-authorization']}\r\n\r\n`;
    vi.stubEnv('HTTPS_PROXY', asking(proxy.port));
    expect(await failure(read(other))).toMatchObject(refusal('does not know who asks (407)', /HTTPS_PROXY/));
    expect(came).toEqual([]);
  });

  it('that opens what goes through it is told nothing: it is not who was asked for', async () => {
    const port = await registry();
    const other = await createAuthority('other', new Date(), 1);
    const between = await registry(gives, NAME, other);
    proxy.leads = () => `${NAME}:${between}`;
    expect(await failure(read(port))).toMatchObject({
      code: 'OCI_UNREACHABLE',
      message: expect.stringContaining('(UNABLE_TO_VERIFY_LEAF_SIGNATURE)'),
    });
    expect(came).toEqual([]);
    proxy.leads = (server) => server;
    await expect(read(port)).resolves.toMatchObject(there);
  });

  it('keeps no command from ending', async () => {
    const port = await registry();
    const tls = await startForwardProxy(await certified('127.0.0.1'));
    stops.push(() => tls.stop());
    const dir = mkdtempSync(join(tmpdir(), 'kallio-proxy-'));
    stops.push(async () => rmSync(dir, { recursive: true }));
    writeFileSync(join(dir, 'ca.pem'), authority.certificate);
    const program = `
      import { exchange } from ${JSON.stringify(import.meta.resolve('../src/http/exchange.ts'))};
      const url = new URL('https://${NAME}:${port}/');
      const { status, body } = await exchange({ method: 'GET', url, headers: {}, budgetMs: 20000 });
      for await (const piece of body) {}
      console.log(status, process.uptime());
      process.on('exit', () => console.log(process.uptime()));`;
    for (const by of [`http://127.0.0.1:${proxy.port}`, `https://127.0.0.1:${tls.port}`]) {
      const env = { ...process.env, HTTPS_PROXY: by, NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem') };
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
        env,
      });
      const [status, asked, ended] = stdout.trim().split(/\s/).map(Number);
      expect(status).toBe(200);
      // Shorter than a connection is kept.
      expect((ended ?? 0) - (asked ?? 0)).toBeLessThan(2);
    }
    expect(proxy.asked).toHaveLength(1);
    expect(tls.asked).toHaveLength(1);
  });
});

describe('a proxy that leads nowhere', () => {
  const answer = (text: string) => {
    proxy.answers = () => text;
  };
  const broken: [how: string, answers: string, message: string, hint: RegExp][] = [
    ['refuses', 'HTTP/1.1 403 Forbidden\r\n\r\n', 'does not lead to', /NO_PROXY/],
    ['can’t', 'HTTP/1.1 502 Bad Gateway\r\n\r\n', '(502)', /NO_PROXY/],
    ['asks for more', 'HTTP/1.1 100 Continue\r\n\r\n', '(100)', /NO_PROXY/],
    ['leads elsewhere', 'HTTP/1.1 302 Found\r\nLocation: https://192.0.2.1/\r\n\r\n', '(302)', /NO_PROXY/],
    ['is none', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 'this is no answer of HTTP/1.1', /HTTPS_PROXY/],
    ['has a malformed header', 'HTTP/1.1 200 OK\r\na b\r\n\r\n', 'malformed', /HTTPS_PROXY/],
    ['has headers without end', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(3000)}`, 'too long', /HTTPS_PROXY/],
    ['has a header without end', `HTTP/1.1 200 OK\r\nX-A: ${'b'.repeat(20_000)}`, 'too long', /HTTPS_PROXY/],
    [
      'answers for the registry',
      'HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
      'says more',
      /HTTPS_PROXY/,
    ],
  ];
  it.each(broken)('because it %s, is a refusal that says so', async (_, answers, message, hint) => {
    const port = await registry();
    vi.stubEnv('HTTPS_PROXY', asking(proxy.port));
    answer(answers);
    expect(await failure(read(port))).toMatchObject(refusal(message, hint));
    expect(came).toEqual([]);
    proxy.answers = () => undefined;
    await expect(read(port)).resolves.toMatchObject(there);
  });

  it('because it leaves, or is not there, is a refusal that says so', async () => {
    const port = await registry();
    proxy.answers = (_, socket) => {
      socket.destroy();
      return '';
    };
    expect(await failure(read(port))).toMatchObject(refusal('does not answer as one (', /HTTPS_PROXY/));
    const gone = await startForwardProxy();
    await gone.stop();
    vi.stubEnv('HTTPS_PROXY', asking(gone.port));
    expect(await failure(read(port))).toMatchObject(refusal('(ECONNREFUSED)', /HTTPS_PROXY/));
    expect(came).toEqual([]);
  });

  it('because nobody is where it should lead', async () => {
    const port = await registry();
    await stops.pop()?.();
    expect(await failure(read(port))).toMatchObject(refusal(`${NAME}:${port} (502)`, /NO_PROXY/));
  });

  it('because it is silent, or begins and never ends, is not waited for', async () => {
    const server = new URL(`https://${NAME}:${await registry()}`);
    const by = proxyFor(server, process.env) ?? expect.fail('no proxy is named');
    for (const begun of ['', 'HTTP/1.1 200 OK\r\n']) {
      answer(begun);
      expect(await failure(openTunnel(by, server, 100))).toMatchObject(
        refusal('does not answer as one (the time is up)', /HTTPS_PROXY/),
      );
    }
    const mute = await listening(createNetServer(), '127.0.0.1');
    vi.stubEnv('HTTPS_PROXY', `https://127.0.0.1:${mute}`);
    const tls = proxyFor(server, process.env) ?? expect.fail('no proxy is named');
    expect(await failure(openTunnel(tls, server, 100))).toMatchObject(
      refusal('(the time is up)', /HTTPS_PROXY/),
    );
    proxy.answers = () => undefined;
    (await openTunnel(by, server, 5000)).destroy();
  });

  it('because what names it is no address of one, is a refusal without a word of it', async () => {
    const port = await registry();
    for (const named of [
      `socks5://who:${encodeURIComponent(PASSWORD)}@127.0.0.1:1080`,
      `http://who:${encodeURIComponent(PASSWORD)}@:99999`,
      `http://who:${encodeURIComponent(PASSWORD)}%zz@127.0.0.1:1`,
      'http://',
      'ftp://x',
    ]) {
      vi.stubEnv('HTTPS_PROXY', named);
      expect(await failure(read(port))).toMatchObject({
        code: 'OCI_PROXY',
        hint: expect.stringMatching(/^Write /),
      });
    }
    expect(came).toEqual([]);
    vi.stubEnv('HTTPS_PROXY', `127.0.0.1:${proxy.port}`);
    await expect(read(port)).resolves.toMatchObject(there);
  });
});

describe('who is asked without it', () => {
  it('is who NO_PROXY names, in either spelling, of which the upper counts', async () => {
    const port = await registry();
    vi.stubEnv('no_proxy', `example.org, ${NAME}:${port}`);
    await expect(read(port)).resolves.toMatchObject(there);
    expect(proxy.asked).toEqual([]);
    vi.stubEnv('NO_PROXY', 'example.org');
    await expect(read(port)).resolves.toMatchObject(there);
    expect(proxy.asked).toEqual([`${NAME}:${port}`]);
    vi.stubEnv('https_proxy', 'http://127.0.0.1:1');
    await expect(read(await registry())).resolves.toMatchObject(there);
    vi.stubEnv('HTTPS_PROXY', '');
    expect(await failure(read(port))).toMatchObject(refusal('127.0.0.1:1', /^Is https_proxy right/));
  });

  it('is this machine, whatever is named', async () => {
    const server = createPlainServer((request, response) => gives(request, response));
    const port = await listening(server, '127.0.0.1');
    vi.stubEnv('HTTP_PROXY', `http://127.0.0.1:${proxy.port}`);
    for (const host of ['127.0.0.1', 'localhost']) {
      const here = new Repository({ registry: `${host}:${port}`, repository: 'app' });
      await expect(here.manifest('v1')).resolves.toMatchObject(there);
    }
    expect(proxy.asked).toEqual([]);
  });

  it('is looked at again for each place that a registry leads to', async () => {
    const inside = await registry(gives, '127.0.0.1');
    const outside = await registry();
    let to = '';
    const leads = await registry((_, response) => void response.writeHead(307, { location: to }).end());
    to = `https://127.0.0.1:${inside}/v2/app/manifests/v1`;
    await expect(read(leads)).resolves.toMatchObject(there);
    expect(proxy.asked).toEqual([`${NAME}:${leads}`]);
    // The other way round.
    vi.stubEnv('NO_PROXY', `${NAME}:${leads}`);
    to = `https://${NAME}:${outside}/v2/app/manifests/v1`;
    await expect(read(leads)).resolves.toMatchObject(there);
    expect(proxy.asked).toEqual([`${NAME}:${leads}`, `${NAME}:${outside}`]);
  });

  it('is a realm no more than a registry', async () => {
    const tokens = async () => {
      const realm = await registry((_, response) => void response.end(JSON.stringify({ token: 'abc' })));
      const port = await registry((request, response) => {
        if (request.headers.authorization === 'Bearer abc') return gives(request, response);
        const challenge = `Bearer realm="https://${NAME}:${realm}/token"`;
        return void response.writeHead(401, { 'www-authenticate': challenge }).end();
      });
      return { port, realm };
    };
    const one = await tokens();
    await expect(read(one.port)).resolves.toMatchObject(there);
    expect(proxy.asked).toEqual([`${NAME}:${one.port}`, `${NAME}:${one.realm}`]);
    const other = await tokens();
    vi.stubEnv('NO_PROXY', `${NAME}:${other.port}`);
    proxy.answers = () => 'HTTP/1.1 502 Bad Gateway\r\n\r\n';
    expect(await failure(read(other.port))).toMatchObject(
      refusal(`${NAME}:${other.realm} (502)`, /NO_PROXY/),
    );
    vi.stubEnv('NO_PROXY', `${NAME}:${other.port},${NAME}:${other.realm}`);
    await expect(read(other.port)).resolves.toMatchObject(there);
  });
});

/** The cases of golang.org/x/net/http/httpproxy (proxy_test.go), of which those are left out that are no HTTPS. */
describe('NO_PROXY', () => {
  const NO_PROXY = [
    'foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30',
    '2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64',
  ].join(', ');
  const usesProxy = (host: string, list: string, port = '80') =>
    proxyFor(new URL(`https://${host}:${port}`), { HTTPS_PROXY: 'proxy', NO_PROXY: list }) !== undefined;
  const cases: [host: string, proxied: boolean][] = [
    ['localhost', false],
    ['127.0.0.1', false],
    ['127.0.0.2', false],
    ['[::1]', false],
    ['[::2]', true],
    ['192.168.1.1', false],
    ['192.168.1.2', true],
    ['192.168.1.3', false],
    ['192.168.1.4', true],
    ['10.0.0.2', false],
    ['[2001:db8::52:0:1]', false],
    ['[2001:db8::52:0:2]', true],
    ['[2001:db8::52:0:3]', false],
    ['[2002:db8:a::123]', false],
    ['[fe80::424b:c8be:1643:a1b6]', true],
    ['barbaz.net', true],
    ['www.barbaz.net', false],
    ['foobar.com', false],
    ['www.foobar.com', false],
    ['foofoobar.com', true],
    ['baz.com', true],
    ['localhost.net', true],
    ['local.localhost', true],
    ['barbarbaz.net', true],
    ['wildcard.io', true],
    ['nested.wildcard.io', false],
    ['awildcard.io', true],
  ];
  it.each(cases)('%s by a proxy: %s', (host, proxied) => {
    expect(usesProxy(host, NO_PROXY)).toBe(proxied);
    expect(usesProxy(host, '*')).toBe(false);
  });

  it.each<[host: string, list: string, proxied: boolean]>([
    ['example.com', 'example.com', false],
    ['example.com', 'EXAMPLE.com', false],
    ['example.com', '.example.com', true],
    ['example.com', 'ample.com', true],
    ['foo.example.com', 'example.com', false],
    ['example.com', '.foo.com', true],
    ['www.示例.com', '.示例.com', false],
    ['www.示例.com', 'xn--fsq092h.com', false],
    ['www.xn--fsq092h.com', '示例.com', false],
    ['example.com', ':1', true],
    ['example.com', ' , ,', true],
    ['example.com', 'example.com:80', false],
    ['example.com', 'example.com:', false],
    ['example.com', 'example.com:81', true],
    ['10.0.0.2', '10.0.0.0/33', true],
    ['10.0.0.2', '0/0', true],
    ['10.0.0.2', '0.0.0.0/0', false],
    ['10.0.0.2', '::/0', true],
    ['10.0.0.2', '::ffff:0:0/96', false],
    ['[2001:db8::1]', '::/0', false],
    ['[2001:db8::1]', '0.0.0.0/0', true],
    ['[2001:db8::1]', '[2001:db8::1]', true],
    ['10.0.0.2', '.2', true],
    ['[::ffff:10.0.0.2]', '10.0.0.2', false],
    ['example.com', '0.0.0.0/0, ::/0', true],
    ['example.com', '[::1], *', false],
  ])('%s, where it is %j: %s', (host, list, proxied) => {
    expect(usesProxy(host, list)).toBe(proxied);
  });

  it('takes 443 for the port of who is named without one', () => {
    const proxied = (list: string) =>
      proxyFor(new URL('https://example.com'), { HTTPS_PROXY: 'proxy', NO_PROXY: list }) !== undefined;
    expect(proxied('example.com:443')).toBe(false);
    expect(proxied('example.com:80')).toBe(true);
  });
});

describe('HTTPS_PROXY', () => {
  it.each<[named: string, origin: string]>([
    ['cache.example.com:1234', 'http://cache.example.com:1234'],
    ['cache.example.com', 'http://cache.example.com'],
    ['localhost', 'http://localhost'],
    ['localhost:3128', 'http://localhost:3128'],
    ['https://cache.example.com', 'https://cache.example.com'],
    ['HTTP://127.0.0.1:8080/', 'http://127.0.0.1:8080'],
    ['http://[::1]:8080', 'http://[::1]:8080'],
  ])('%s is %s', (named, origin) => {
    const server = new URL('https://registry.example');
    expect(proxyFor(server, { HTTPS_PROXY: named })?.url.origin).toBe(origin);
    // Who runs for a question from outside, as a CGI does, has it all the same; HTTP_PROXY is not looked at.
    expect(proxyFor(server, { HTTPS_PROXY: named, REQUEST_METHOD: 'GET' })?.url.origin).toBe(origin);
    expect(proxyFor(server, { HTTP_PROXY: named })).toBeUndefined();
    expect(proxyFor(new URL('http://registry.example'), { HTTPS_PROXY: named })).toBeUndefined();
  });
});
