import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  attestersList,
  LOG_CHECKPOINT,
  statusShow,
  tokenCreate,
  tokenRevoke,
  tokenRotate,
  trustShow,
} from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  initServer,
  resetAdminToken,
  rotateResultKeys,
  type ServerContext,
  startServer,
} from '../src/index.ts';
import { readConfig } from '../src/setup/config.ts';
import { configure, type TestServer, testServer } from './fixture-server.ts';

const code = (c: string) => expect.objectContaining({ code: c });

describe('a server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await testServer();
  });
  afterAll(() => server.stop());

  it('says that it is up, over TLS with its own authority', async () => {
    expect(await server.client().call(statusShow, {})).toMatchObject({
      name: 'kallio',
      roles: ['attestation-server', 'log'],
    });
  });

  it('speaks TLS 1.3 only', async () => {
    const { connect } = await import('node:tls');
    const { port } = new URL(server.url);
    const attempt = (maxVersion: 'TLSv1.2' | 'TLSv1.3') =>
      new Promise<string>((resolve) => {
        const socket = connect({ host: '127.0.0.1', port: Number(port), ca: server.ca, maxVersion }, () => {
          resolve(socket.getProtocol() ?? '');
          socket.destroy();
        });
        socket.on('error', (error) => resolve(error.message));
      });
    expect(await attempt('TLSv1.3')).toBe('TLSv1.3');
    expect(await attempt('TLSv1.2')).toMatch(/protocol version/);
  });

  it('publishes what relying parties pin, and a checkpoint of its empty log', async () => {
    const trust = await server.client().call(trustShow, {});
    expect(trust.issuer).toBe('verifier.edge.test');
    expect(trust.jwks.keys).toEqual([expect.objectContaining({ kty: 'EC', alg: 'ES256' })]);
    expect(trust.jwks.keys[0]).not.toHaveProperty('d');
    expect(trust.log.baseUrl).toBe(`${server.url}/v1/log`);
    const note = Buffer.from(
      await server.client().raw('GET', `${LOG_CHECKPOINT}?rendering=sigstore`),
    ).toString();
    expect(note.split('\n')[0]).toBe(trust.log.origin);
  });

  it('gives out OpenAPI printed from its routes', async () => {
    const document = JSON.parse(Buffer.from(await server.client().raw('GET', '/openapi.json')).toString());
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toContain('/v1/sessions/{session}/close');
    expect(document.paths['/v1/status'].get.responses['200'].content['application/json'].schema.type).toBe(
      'object',
    );
  });

  it('lets roles do what they may', async () => {
    const { token } = await server
      .admin()
      .call(tokenCreate, { body: { name: 'viewer', role: 'viewer', ttlSeconds: 60 } });
    const viewer = server.client({ token });
    expect(await viewer.call(attestersList, {})).toEqual({ attesters: [] });
    await expect(viewer.call(tokenRevoke, { params: { name: 'viewer' } })).rejects.toThrow(code('FORBIDDEN'));
    await expect(server.client().call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
    server.advance(60);
    await expect(viewer.call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
  });

  it('never takes a bad credential for none, on public routes either', async () => {
    const bad = server.client({ token: `kallio_token_${'A'.repeat(43)}` });
    await expect(bad.call(statusShow, {})).rejects.toThrow(code('UNAUTHENTICATED'));
    await expect(server.client({ token: 'x' }).call(statusShow, {})).rejects.toThrow(code('UNAUTHENTICATED'));
  });

  it('ends a token that is revoked', async () => {
    const { token } = await server
      .admin()
      .call(tokenCreate, { body: { name: 'ci', role: 'operator', ttlSeconds: 600 } });
    const ci = server.client({ token });
    await ci.call(attestersList, {});
    expect(await server.admin().call(tokenRevoke, { params: { name: 'ci' } })).toEqual({ revoked: true });
    await expect(ci.call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
  });

  it('rotates a token: the new one has its name and role, and the old one ends at once', async () => {
    const admin = server.admin();
    const body = { name: 'rotated', role: 'operator', ttlSeconds: 600 } as const;
    const old = server.client({ token: (await admin.call(tokenCreate, { body })).token });
    await old.call(attestersList, {});
    const rotate = (client: typeof admin, name: string) =>
      client.call(tokenRotate, { params: { name }, body: { ttlSeconds: 60 } });
    const { token, role } = await rotate(admin, 'rotated');
    expect(role).toBe('operator');
    await expect(old.call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
    const renewed = server.client({ token });
    await renewed.call(attestersList, {});
    // It rotates nobody, not even itself: a stolen token would last for ever.
    await expect(rotate(renewed, 'rotated')).rejects.toThrow(code('FORBIDDEN'));
    await expect(rotate(admin, 'nobody')).rejects.toThrow(code('NOT_FOUND'));
    server.advance(60);
    await expect(renewed.call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
    await expect(rotate(admin, 'rotated')).rejects.toThrow(code('NOT_FOUND'));
  });

  it('is the only one on its folder', async () => {
    await expect(startServer({ dataDir: server.dataDir })).rejects.toThrow(code('SERVER_RUNNING'));
  });

  it('keeps its secrets to its owner', () => {
    expect(statSync(server.dataDir).mode & 0o777).toBe(0o700);
    for (const file of ['config.json', 'keys/results.json', 'keys/server.pem', 'keys/log-p256.key']) {
      expect(statSync(join(server.dataDir, file)).mode & 0o077, file).toBe(0);
    }
    const stored = readFileSync(join(server.dataDir, 'store.sqlite'), 'latin1');
    expect(stored).not.toContain(server.adminToken);
  });

  it('gives whoever owns the folder a new admin token, and the old one ends', async () => {
    const token = resetAdminToken(server.dataDir, server.now());
    await server.client({ token }).call(attestersList, {});
    await expect(server.admin().call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
  });
});

describe('another role on the same listener', () => {
  it('is mounted with the means to call and to tell callers apart', async () => {
    let context: ServerContext | undefined;
    const server = await testServer({}, undefined, async (app, given) => {
      context = given;
      given.addRole('orchestrator');
      app.get('/extra', async (request) => given.authenticate(request));
    });
    expect(await server.client().call(statusShow, {})).toMatchObject({
      roles: ['attestation-server', 'log', 'orchestrator'],
    });
    expect(context?.url()).toBe(server.url);
    expect(context?.trust()).toEqual(await server.client().call(trustShow, {}));
    const token = context?.serviceToken('orchestrator', 'operator') ?? '';
    const principal = Buffer.from(await server.client({ token }).raw('GET', '/extra')).toString();
    expect(JSON.parse(principal)).toEqual({
      kind: 'token',
      name: 'service-orchestrator',
      role: 'operator',
    });
    await server.restart();
    context?.serviceToken('orchestrator', 'operator');
    await expect(server.client({ token }).call(attestersList, {})).rejects.toThrow(code('UNAUTHENTICATED'));
    await server.stop();
  });
});

describe('keys', () => {
  it('that sign results are rotated beside the old ones, which stay published', async () => {
    const server = await testServer();
    const before = (await server.client().call(trustShow, {})).jwks.keys;
    const kid = rotateResultKeys(server.dataDir, new Date());
    await server.restart();
    const after = (await server.client().call(trustShow, {})).jwks.keys;
    expect(after.map((key) => key.kid)).toEqual([before[0]?.kid, kid]);
    await server.stop();
  });

  it('that sign results are all there when several processes rotate them at once', async () => {
    const server = await testServer();
    const program = fileURLToPath(new URL('./support/rotating.ts', import.meta.url));
    const run = promisify(execFile);
    const rotate = () => run(process.execPath, [program, server.dataDir]);
    const rotated = await Promise.all([rotate(), rotate(), rotate()]);
    const kids = rotated.flatMap(({ stdout }) => stdout.trim().split('\n'));
    await server.restart();
    const { keys } = (await server.client().call(trustShow, {})).jwks;
    expect(
      keys
        .slice(1)
        .map(({ kid }) => kid)
        .sort(),
    ).toEqual(kids.sort());
    expect(kids).toHaveLength(9);
    await server.stop();
  });

  it('of the listener are renewed when its names change, under the same authority', async () => {
    const server = await testServer();
    configure(server.dataDir, { names: ['127.0.0.1', 'edge.test'] });
    await server.restart();
    await server.client().call(statusShow, {});
    const pem = readFileSync(join(server.dataDir, 'keys/server.pem'), 'utf8');
    expect(new X509Certificate(pem).checkHost('edge.test')).toBe('edge.test');
    await server.stop();
  });
});

describe('beginning', () => {
  it('refuses a folder that holds a server, and one that holds none', async () => {
    const server = await testServer();
    await expect(
      initServer({
        dataDir: server.dataDir,
        listen: '127.0.0.1:0',
        names: ['localhost'],
        trustDomain: 'other',
        issuer: 'other',
        log: { name: 'other' },
        ekRoots: [],
      }),
    ).rejects.toThrow(code('SERVER_ALREADY_INITIALISED'));
    await expect(startServer({ dataDir: join(server.dataDir, 'nothing') })).rejects.toThrow(
      code('SERVER_NOT_INITIALISED'),
    );
    await server.stop();
  });

  it('leaves nothing behind when what it was told can’t be used', async () => {
    const dataDir = join('/tmp', `kallio-never-${process.pid}`);
    const told = {
      dataDir,
      listen: '127.0.0.1:0',
      names: ['localhost'],
      trustDomain: 'edge.test',
      issuer: 'x',
      log: { name: 'log.test' },
      ekRoots: [],
    };
    await expect(initServer({ ...told, ekRoots: ['/nonexistent.pem'] })).rejects.toThrow(
      code('CONFIG_INVALID'),
    );
    await expect(initServer({ ...told, listen: 'nowhere' })).rejects.toThrow(code('CONFIG_INVALID'));
    await expect(initServer({ ...told, trustDomain: 'Not A Domain' })).rejects.toThrow(
      code('CONFIG_INVALID'),
    );
    expect(existsSync(dataDir)).toBe(false);
  });

  it('takes a configuration of before, with the defaults of what it lacks, and none without a decision', async () => {
    const without = (section: string, name?: string) => (dataDir: string) => {
      const path = join(dataDir, 'config.json');
      const config = JSON.parse(readFileSync(path, 'utf8'));
      if (name === undefined) delete config[section];
      else delete config[section][name];
      writeFileSync(path, JSON.stringify(config));
    };
    const server = await testServer({}, without('retention', 'steadyHours'));
    expect(readConfig(join(server.dataDir, 'config.json')).retention).toEqual({ days: 30, steadyHours: 24 });
    await server.stop();
    await expect(testServer({}, without('issuer'))).rejects.toThrow(code('CONFIG_INVALID'));
  });

  it('refuses a configuration with an unknown setting, naming file and place', async () => {
    const broken = testServer({}, (dataDir) => {
      const path = join(dataDir, 'config.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('"nonceSeconds"', '"nonceSecond"'));
    });
    await expect(broken).rejects.toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining('config.json') }),
    );
  });
});
