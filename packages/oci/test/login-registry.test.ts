import { execFileSync } from 'node:child_process';
import { sign, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { utf8 } from '@kallio/codec';
import { createAuthority, issueServerCertificate, type KeyedCertificate } from '@kallio/pki';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA, Repository } from '../src/index.ts';
import type { FindCredentials } from '../src/login/credentials.ts';
import { storedCredentials } from '../src/login/stored.ts';
import { type DockerRegistry, startDockerRegistry } from './support/docker-registry.ts';

/*
 * Registries that want to know who asks: Debian's docker-registry, with a password file and with tokens that a realm makes
 * here, logged in to by buildah; and hostile ones.
 */

const PASSWORD = 'pass:word of a builder';
/** The same, bcrypt. */
const HASH = '$2y$05$abcdefghijklmnopqrstuuWWNWBFIh98y/bUv/YCXvo5qMgHPnBUS';
const refusal = (code: string) => expect.objectContaining({ code });
const dir = mkdtempSync(join(tmpdir(), 'kallio-login-'));
const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
const builder: FindCredentials = async () => ({ username: 'builder', password: PASSWORD });
const stranger: FindCredentials = async () => ({ username: 'builder', password: 'guessed' });

afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Nothing secret is in what is logged, whatever of an error is. */
async function failure(done: Promise<unknown>): Promise<unknown> {
  const error: unknown = await done.then(
    () => undefined,
    (why: unknown) => why,
  );
  const shown = inspect(error, { depth: 9, showHidden: true });
  for (const secret of [
    PASSWORD,
    Buffer.from(`builder:${PASSWORD}`).toString('base64'),
    'an identity',
    'Bearer',
  ])
    expect(shown).not.toContain(secret);
  return error;
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function stopped(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

describe('a registry with a password file', () => {
  let registry: DockerRegistry;
  const app = (credentials?: FindCredentials) =>
    new Repository({ registry: registry.host, repository: 'team/app', ...(credentials && { credentials }) });

  beforeAll(async () => {
    const folder = join(dir, 'basic');
    mkdirSync(folder);
    const path = join(folder, 'htpasswd');
    writeFileSync(path, `builder:${HASH}\n`);
    registry = await startDockerRegistry(folder, { htpasswd: { realm: 'images', path } });
  });
  afterAll(() => registry.stop());

  it('takes from who knows the password, and gives to them', async () => {
    const digest = await app(builder).pushManifest(index, MEDIA.index, 'v1');
    expect((await app(builder).manifest('v1')).digest).toBe(digest);
    const bytes = utf8('a blob');
    const blob = await app(builder).pushBlob(bytes);
    expect(await app(builder).blob(blob, 100)).toEqual(bytes);
    await app(builder).pushStream(
      { ...blob, digest: (await app(builder).pushBlob(index)).digest },
      async () => {
        throw new Error('it is there already');
      },
    );
  });

  it('is not opened by another, nor by nobody', async () => {
    await expect(failure(app(stranger).manifest('v1'))).resolves.toEqual(refusal('OCI_DENIED'));
    await expect(failure(app(stranger).pushBlob(index))).resolves.toEqual(refusal('OCI_DENIED'));
    const error = await failure(app().manifest('v1'));
    expect(error).toEqual(refusal('OCI_DENIED'));
    expect(error).toMatchObject({ hint: expect.stringContaining(`podman login ${registry.host}`) });
  });

  it('is opened by what buildah’s login left', async () => {
    const file = join(dir, 'auth.json');
    const environment = { REGISTRY_AUTH_FILE: file };
    const stored: FindCredentials = (...of) => storedCredentials(...of, environment);
    await expect(failure(app(stored).manifest('v1'))).resolves.toEqual(refusal('OCI_DENIED'));
    execFileSync(
      'buildah',
      ['login', '--authfile', file, '--tls-verify=false', '-u', 'builder', '--password-stdin', registry.host],
      { input: PASSWORD, stdio: ['pipe', 'ignore', 'pipe'] },
    );
    expect((await app(stored).manifest('v1')).mediaType).toBe(MEDIA.index);
    execFileSync('buildah', ['logout', '--authfile', file, registry.host], { stdio: 'ignore' });
    await expect(failure(app(stored).manifest('v1'))).resolves.toEqual(refusal('OCI_DENIED'));
  });
});

describe('a registry with tokens', () => {
  let registry: DockerRegistry;
  let realm: Server;
  let authority: KeyedCertificate;
  let maker: KeyedCertificate;
  /** What the realm was asked. */
  let asked: { method: string; scope: string | null; as: string }[];
  let seconds: number | undefined;
  let lifetime: number;

  beforeAll(async () => {
    const now = new Date();
    authority = await createAuthority('images', now, 1);
    maker = await issueServerCertificate(authority, { names: ['tokens.example'], now, days: 1 });
    realm = createServer((request, response) => void answerToken(request, response));
    const host = await listening(realm);
    const folder = join(dir, 'tokens');
    mkdirSync(folder);
    const bundle = join(folder, 'roots.pem');
    writeFileSync(bundle, authority.certificate);
    registry = await startDockerRegistry(folder, {
      token: { realm: `http://${host}/token`, service: 'images', issuer: 'tests', rootcertbundle: bundle },
    });
  });
  afterAll(async () => {
    await registry.stop();
    await stopped(realm);
  });
  beforeEach(() => {
    asked = [];
    seconds = 300;
    lifetime = 300;
  });

  async function answerToken(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    let body = '';
    for await (const piece of request) body += String(piece);
    const said = method === 'POST' ? new URLSearchParams(body) : new URL(url, 'http://realm').searchParams;
    const as = said.get('refresh_token') ?? passwordIn(headers.authorization);
    asked.push({ method, scope: said.get('scope'), as });
    if (said.get('service') !== 'images') return void response.writeHead(400).end();
    if (as !== PASSWORD && as !== 'an identity' && as !== '') return void response.writeHead(401).end();
    const [, name = '', actions = ''] = said.get('scope')?.split(':') ?? [];
    // Nobody in particular may read.
    const granted = as === '' ? ['pull'] : actions.split(',');
    const token = tokenFor([{ type: 'repository', name, actions: granted }]);
    response.end(
      JSON.stringify({ [method === 'POST' ? 'access_token' : 'token']: token, expires_in: seconds }),
    );
  }

  function passwordIn(authorization = ''): string {
    const [, encoded = ''] = authorization.split(' ');
    return Buffer.from(encoded, 'base64').toString().split(':').slice(1).join(':');
  }

  /** As docker-registry believes it: a JWT whose certificate is of an authority that it knows. */
  function tokenFor(access: object): string {
    const now = Math.floor(Date.now() / 1000);
    const x5c = [new X509Certificate(maker.certificate).raw.toString('base64')];
    const claims = { iss: 'tests', aud: 'images', nbf: now - 9, iat: now, exp: now + lifetime, access };
    const parts = [
      { typ: 'JWT', alg: 'ES256', x5c },
      { ...claims, sub: 'builder', jti: String(Math.random()) },
    ];
    const signed = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = sign('sha256', Buffer.from(signed), { key: maker.key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }

  const app = (credentials?: FindCredentials) =>
    new Repository({ registry: registry.host, repository: 'team/app', ...(credentials && { credentials }) });

  it('is asked with one token to read and one to write, however much is asked at once', async () => {
    const repository = app(builder);
    await repository.pushManifest(index, MEDIA.index, 'v1');
    expect(asked).toEqual([{ method: 'GET', scope: 'repository:team/app:pull,push', as: PASSWORD }]);
    await repository.manifest('v1');
    expect(asked).toHaveLength(1);
    asked = [];
    const reader = app(builder);
    await Promise.all(Array.from({ length: 8 }, () => reader.manifest('v1')));
    expect(asked).toEqual([{ method: 'GET', scope: 'repository:team/app:pull', as: PASSWORD }]);
    await reader.pushStream(
      { digest: (await reader.pushBlob(index)).digest, size: index.length },
      async () => [index] as never,
    );
    expect(asked.map(({ scope }) => scope)).toEqual([
      'repository:team/app:pull',
      'repository:team/app:pull,push',
    ]);
  });

  it('is read by nobody in particular, if its realm lets them', async () => {
    await app(builder).pushManifest(index, MEDIA.index, 'v1');
    asked = [];
    expect((await app().manifest('v1')).mediaType).toBe(MEDIA.index);
    expect(asked).toEqual([{ method: 'GET', scope: 'repository:team/app:pull', as: '' }]);
    await expect(failure(app().pushManifest(index, MEDIA.index, 'v2'))).resolves.toEqual(
      refusal('OCI_DENIED'),
    );
  });

  it('takes an identity token in the place of a password', async () => {
    await app(async () => ({ identityToken: 'an identity' })).pushManifest(index, MEDIA.index, 'v1');
    expect(asked).toEqual([{ method: 'POST', scope: 'repository:team/app:pull,push', as: 'an identity' }]);
    const other = app(async () => ({ identityToken: 'another' }));
    await expect(failure(other.manifest('v1'))).resolves.toEqual(refusal('OCI_DENIED'));
  });

  it('is not opened with a wrong password', async () => {
    await expect(failure(app(stranger).manifest('v1'))).resolves.toEqual(refusal('OCI_DENIED'));
  });

  it('is asked with another token once one is over, or no longer taken', async () => {
    const repository = app(builder);
    await repository.pushManifest(index, MEDIA.index, 'v1');
    // The next is over as soon as it is there, to whom it is given.
    seconds = 0;
    asked = [];
    const reader = app(builder);
    await reader.manifest('v1');
    await reader.manifest('v1');
    expect(asked).toHaveLength(2);
    // And one to the registry, which allows a minute for clocks; its bearer was told otherwise.
    seconds = 300;
    lifetime = -120;
    asked = [];
    const early = app(builder);
    await expect(failure(early.manifest('v1'))).resolves.toEqual(refusal('OCI_DENIED'));
    lifetime = 300;
    expect((await early.manifest('v1')).mediaType).toBe(MEDIA.index);
  });
});

describe('a hostile registry', () => {
  let challenge: string;
  let registry: Server;
  let other: Server;
  let host: string;
  let elsewhere: string;
  /** What came to another server, with what. */
  let came: (string | undefined)[];
  let token: object | string;
  let redirects: boolean;

  beforeAll(async () => {
    registry = createServer(({ url, headers }, response) => {
      if (url?.startsWith('/token'))
        return response.end(typeof token === 'string' ? token : JSON.stringify(token));
      if (redirects)
        return response.writeHead(307, { location: `http://${elsewhere}/v2/app/manifests/v1` }).end();
      if (headers.authorization?.startsWith('Bearer ')) {
        return response.writeHead(200, { 'content-type': MEDIA.index }).end(index);
      }
      return response.writeHead(401, { 'www-authenticate': challenge }).end();
    });
    other = createServer(({ headers }, response) => {
      came.push(headers.authorization);
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    });
    host = await listening(registry);
    elsewhere = await listening(other);
  });
  afterAll(async () => {
    await stopped(registry);
    await stopped(other);
  });
  beforeEach(async () => {
    came = [];
    redirects = false;
    token = { token: 'abc' };
    challenge = `Bearer realm="http://${host}/token"`;
    await expect(read()).resolves.toMatchObject({ mediaType: MEDIA.index });
  });

  const read = () =>
    new Repository({ registry: host, repository: 'app', credentials: builder }).manifest('v1');

  it('gets no password for a realm that all can listen to, or none at all', async () => {
    const realms = [
      'http://192.0.2.1/token',
      'ftp://127.0.0.1/token',
      'token',
      `http://a:b@${host}/token`,
      '',
    ];
    for (const realm of realms) {
      challenge = `Bearer realm="${realm}"`;
      await expect(failure(read())).resolves.toEqual(refusal('OCI_REGISTRY'));
    }
  });

  it('gets no password for a place that it leads to', async () => {
    redirects = true;
    await expect(failure(read())).resolves.toEqual(refusal('OCI_DENIED'));
    expect(came).toEqual([undefined]);
  });

  it('is given up where its token is none', async () => {
    const none = [
      '',
      '<html>',
      {},
      { token: 7 },
      { token: 'a\r\nb: c' },
      { token: '' },
      { access_token: 'é' },
    ];
    for (token of none) {
      await expect(failure(read())).resolves.toEqual(refusal('OCI_REGISTRY'));
    }
    token = { token: 'x'.repeat(70_000) };
    await expect(failure(read())).resolves.toEqual(refusal('OCI_TOO_LARGE'));
  });

  it('is given up where it asks for what nobody has, or again and again', async () => {
    for (challenge of ['', 'Digest realm="x"', 'Basic', 'Basic realm="x"']) {
      await expect(failure(read())).resolves.toEqual(refusal('OCI_DENIED'));
    }
  });
});
