import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueServerCertificate } from '@kallio/pki';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';

/*
 * The real image of docs/examples, into Debian's docker-registry over TLS and out of it again by a forward proxy, as a machine
 * does that reaches registries by one only.
 */

// The command may have to be bundled first.
vi.setConfig({ testTimeout: 60_000 });

const examples = join(import.meta.dirname, '../../../docs/examples');
const BIN = join(import.meta.dirname, '../bin/kallio.cjs');
/** This machine, by an address that is not known for it. */
const NAME = '0.0.0.0';

let dir: string;
let image: string;
let stops: (() => void)[];
/** Where the proxy was to lead. */
let asked: string[];
let proxy: string;

beforeAll(async () => {
  stops = [];
  dir = mkdtempSync(join(tmpdir(), 'kallio-proxy-'));
  const policy = JSON.parse(readFileSync(join(examples, 'image-policy.json'), 'utf8'));
  writeFileSync(join(dir, 'policy.json'), JSON.stringify({ ...policy, platform: 'linux/amd64' }));
  image = `${NAME}:${await startRegistry()}/app:1`;
  proxy = `127.0.0.1:${await startProxy()}`;
});
afterAll(() => {
  for (const stop of stops) stop();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  asked = [];
});

async function startRegistry(): Promise<number> {
  const now = new Date();
  const authority = await createAuthority('registries', now, 1);
  const { certificate, key } = await issueServerCertificate(authority, { names: [NAME], now, days: 1 });
  for (const [name, pem] of Object.entries({ ca: authority.certificate, certificate, key }))
    writeFileSync(join(dir, `${name}.pem`), pem);
  const probe = createNetServer().listen(0, NAME);
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  const tls = { certificate: join(dir, 'certificate.pem'), key: join(dir, 'key.pem') };
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, 'registry') } },
    http: { addr: `${NAME}:${port}`, tls },
  };
  // JSON is YAML.
  writeFileSync(join(dir, 'registry.yml'), JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', join(dir, 'registry.yml')], { stdio: 'ignore' });
  stops.push(() => child.kill());
  await vi.waitFor(() => answers(port), 10_000);
  return port;
}

async function answers(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
}

async function startProxy(): Promise<number> {
  const server = createServer((_, response) => void response.writeHead(405).end());
  server.on('connect', ({ url = '' }, socket: Socket) => {
    asked.push(url);
    const { hostname, port } = new URL(`http://${url}`);
    const to = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(to).pipe(socket);
    });
    socket.on('error', () => undefined).on('close', () => to.destroy());
    to.on('error', () => undefined).on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => void server.close().closeAllConnections());
  return (server.address() as AddressInfo).port;
}

async function kallio(environment: Readonly<Record<string, string>>, ...args: string[]) {
  const { HTTPS_PROXY: _, https_proxy: __, NO_PROXY: ___, no_proxy: ____, ...rest } = process.env;
  const env = { ...rest, NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem'), ...environment };
  const child = spawn(process.execPath, [BIN, ...args], { env });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => (text += String(piece)));
  const [exit] = await once(child, 'close');
  return { exit, text };
}
const policy = () => ['--policy', join(dir, 'policy.json')];

it('kallio copy and verify reach a registry by the proxy that HTTPS_PROXY names, or directly', async () => {
  const there = image.split('/')[0];
  const folder = `oci:${join(examples, 'layout')}`;
  const by = { HTTPS_PROXY: `http://${proxy}` };
  expect(await kallio(by, 'copy', folder, image, ...policy())).toMatchObject({ exit: 0 });
  expect(new Set(asked)).toEqual(new Set([there]));
  asked = [];
  const verified = await kallio(by, 'verify', image, ...policy());
  expect(verified.exit).toBe(0);
  expect(new Set(asked)).toEqual(new Set([there]));
  asked = [];
  expect(await kallio({ ...by, NO_PROXY: NAME }, 'verify', image, ...policy())).toEqual(verified);
  expect(asked).toEqual([]);
});

it('kallio verify says what to do where the proxy does not lead there', async () => {
  const nowhere = 'registry.invalid/app:1';
  const { exit, text } = await kallio(
    { https_proxy: 'http://who:secret%2Fpassword@127.0.0.1:1' },
    ...['verify', nowhere, ...policy()],
  );
  expect(exit).not.toBe(0);
  expect(text).toContain('OCI_PROXY');
  expect(text).toContain('The proxy 127.0.0.1:1 does not answer as one (ECONNREFUSED).');
  expect(text).toContain('Is https_proxy right?');
  expect(text).not.toMatch(/secret|who:/);
});
