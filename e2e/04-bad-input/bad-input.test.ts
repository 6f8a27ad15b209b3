import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, fillPath, PACKAGE_CONTENT, packageCreate } from '@kallio/protocol';
import { zipSync } from 'fflate';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setUp } from '../src/demo/job.ts';
import { Recorder } from '../src/demo/record.ts';
import { kallio } from '../src/site/kallio.ts';
import { freePort } from '../src/site/ports.ts';
import { Site } from '../src/site/site.ts';

let site: Site;
let token: string;
let http: Agent;
beforeAll(async () => {
  site = await Site.create();
  await setUp(site, new Recorder(() => undefined));
  token = (await readFile(site.tokenFile, 'utf8')).trim();
  http = new Agent({ connect: { ca: await readFile(site.ca, 'utf8') } });
});
afterAll(async () => {
  await http.close();
  await site.destroy();
});

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** A request as an operator makes it, with a body of any kind. */
async function ask(method: Method, path: string, body?: string | Uint8Array, type = 'application/json') {
  const answer = await request(site.serverUrl + path, {
    method,
    dispatcher: http,
    body: body ?? null,
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': type }) },
  });
  const text = await answer.body.text();
  expect(text).not.toMatch(/\bat .*\.ts:|node:internal/);
  return { status: answer.statusCode, code: codeOf(text) };
}

function codeOf(text: string): string | undefined {
  if (text === '') return undefined;
  return (JSON.parse(text) as { error?: { code: string } }).error?.code;
}

describe('the orchestrator', () => {
  const appd = async (): Promise<Record<string, unknown>> =>
    JSON.parse(await readFile(site.appDescriptor, 'utf8')) as Record<string, unknown>;
  const zip = (files: Record<string, Uint8Array | unknown>) =>
    zipSync(
      Object.fromEntries(
        Object.entries(files).map(([name, content]) => [
          name,
          content instanceof Uint8Array ? content : new TextEncoder().encode(JSON.stringify(content)),
        ]),
      ),
    );

  async function upload(content: Uint8Array | string, type = 'application/zip') {
    const client = new Client({ url: site.serverUrl, ca: await readFile(site.ca, 'utf8'), token });
    const { id } = await client.call(packageCreate, { body: { appPkgName: 'x', appPkgVersion: '1' } });
    await client.close();
    return ask('PUT', fillPath(PACKAGE_CONTENT, { appPkgId: id }), content, type);
  }

  it('takes a package that is in order, and refuses each defect by its code', async () => {
    const good = await appd();
    expect((await upload(zip({ 'appd.json': { ...good, appDId: 'in-order' } }))).status).toBe(202);

    const { mecVersion: _, ...short } = good;
    const many = Object.fromEntries(Array.from({ length: 300 }, (_value, n) => [`f${n}`, new Uint8Array(0)]));
    const cases: readonly (readonly [string, Uint8Array | string, string])[] = [
      ['no archive', 'PK, or so it says', 'PACKAGE_ARCHIVE'],
      ['no descriptor', zip({ 'other.json': good }), 'PACKAGE_ARCHIVE'],
      ['leaves its folder', zip({ 'appd.json': good, '../../etc/cron.d/x': good }), 'PACKAGE_ARCHIVE'],
      ['too many entries', zip({ 'appd.json': good, ...many }), 'PACKAGE_ARCHIVE'],
      [
        'unpacks too large',
        zip({ 'appd.json': good, zeros: new Uint8Array(40 * 1024 * 1024) }),
        'PACKAGE_ARCHIVE',
      ],
      ['a field missing', zip({ 'appd.json': short }), 'APPD_INVALID'],
      [
        'no image',
        zip({ 'appd.json': { ...good, swImageDescriptor: { swImage: 'not an image' } } }),
        'APPD_INVALID',
      ],
      ['taken', zip({ 'appd.json': { ...good, appDId: 'in-order' } }), 'APPD_TAKEN'],
    ];
    const seen = [];
    for (const [what, content] of cases) seen.push([what, (await upload(content)).code]);
    // The good one is refused by now: nobody serves its registry. What is taken stays taken only until then.
    expect(seen.slice(0, -1)).toEqual(cases.slice(0, -1).map(([what, , code]) => [what, code]));
    expect((await upload(JSON.stringify(good), 'application/json')).code).toBe('REQUEST_INVALID');
  });

  it('knows nothing of what is not there', async () => {
    const id = 'abcdefghijklmnop';
    expect(await ask('GET', `/app_pkgm/v1/app_packages/${id}`)).toEqual({ status: 404, code: 'NOT_FOUND' });
    expect(await ask('GET', `/app_lcm/v1/app_instances/${id}`)).toEqual({ status: 404, code: 'NOT_FOUND' });
    expect(await ask('POST', `/app_lcm/v1/app_instances/${id}/instantiate`, '{}')).toEqual({
      status: 404,
      code: 'NOT_FOUND',
    });
    expect(await ask('POST', '/app_lcm/v1/app_instances', '{"appDId":"nobody’s"}')).toEqual({
      status: 404,
      code: 'NOT_FOUND',
    });
    expect((await ask('GET', '/app_lcm/v1/app_instances/..%2f..%2fetc')).code).toBe('REQUEST_INVALID');
  });

  it('takes reports from devices only', async () => {
    const report = JSON.stringify({ order: 'abcdefgh', instance: 'abcdefgh', outcome: 'started' });
    expect(await ask('POST', '/v1/devices/reports', report)).toEqual({ status: 403, code: 'FORBIDDEN' });
    expect((await ask('GET', '/v1/devices/stream')).status).toBe(403);
  });

  it('refuses JSON that could be read in two ways', async () => {
    const twice = '{"appDId":"a","appDId":"b"}';
    expect((await ask('POST', '/app_lcm/v1/app_instances', twice)).status).toBe(400);
    expect((await ask('POST', '/app_lcm/v1/app_instances', '{"appDId":')).status).toBe(400);
    expect((await ask('POST', '/app_lcm/v1/app_instances', '[]')).code).toBe('REQUEST_INVALID');
  });
});

describe('the agent’s socket', () => {
  async function say(method: Method, path: string, body?: string) {
    const agent = new Agent({ connect: { socketPath: site.builder.socket } });
    const answer = await request(`http://agent${path}`, {
      method,
      dispatcher: agent,
      body: body ?? null,
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
    });
    const text = await answer.body.text();
    await agent.close();
    expect(text).not.toMatch(/\bat .*\.ts:/);
    return { status: answer.statusCode, code: codeOf(text) };
  }

  it('answers nonsense with a code, and goes on answering', async () => {
    expect((await say('POST', '/v1/build-sessions/short/close', '{"claims":{}}')).code).toBe(
      'REQUEST_INVALID',
    );
    const close = async (claims: object) =>
      (await say('POST', '/v1/build-sessions/abcdefghij/close', JSON.stringify({ claims }))).code;
    expect(await close({})).toBe('BUILD_CLAIMS');
    const digest = `sha256:${'0'.repeat(64)}`;
    const image = { index: [{ digest: `sha256:${'1'.repeat(64)}`, os: 'linux', architecture: 'amd64' }] };
    expect(await close({ subject: { name: 'a', digest }, image, fileManifest: { digest, files: 0 } })).toBe(
      'BUILD_SESSION_UNKNOWN',
    );
    expect((await say('POST', '/v1/shim/launch/x', '{}')).code).toBe('REQUEST_INVALID');
    expect((await say('POST', '/v1/shim/create/x', '{}')).code).toBe('AGENT_KIND');
    expect((await say('GET', '/nowhere')).code).toBe('NOT_FOUND');
    expect((await say('GET', '/v1/agent')).status).toBe(200);
  });
});

describe('the command', () => {
  it('says what is wrong, by code and exit code, and shows no stack', async () => {
    const nonsense = join(site.dir, 'nonsense.json');
    await writeFile(nonsense, '{"policy": ');
    const image = `${site.registry}/nothing:1`;
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [['frobnicate'], 2, 'USAGE'],
      [['verify', image], 2, 'USAGE'],
      [['verify', image, '--policy', '/nowhere.json'], 2, 'CLI_FILE'],
      [['verify', image, '--policy', nonsense], 2, 'JSON_SYNTAX'],
      [['verify', 'no image at all', '--policy', site.imagePolicy], 2, 'OCI_REFERENCE'],
      [['apps', 'start', 'nobody-knows'], 1, 'NOT_FOUND'],
      [['packages', 'create', nonsense], 2, 'JSON_SYNTAX'],
      [['agent', 'run', '--config', nonsense], 2, 'JSON_SYNTAX'],
      [['agent', 'status', '--socket', '/nowhere.sock'], 1, 'AGENT_UNREACHABLE'],
      [['build', '-t', image, '/nowhere', '--agent', '/nowhere.sock'], 1, 'AGENT_UNREACHABLE'],
      [['server', 'start', '--data', join(site.dir, 'no-server')], 2, 'SERVER_NOT_INITIALISED'],
      [['server', 'start', '--data', join(site.dir, 'server')], 1, 'SERVER_RUNNING'],
    ];
    const seen = [];
    for (const [args] of cases) {
      const { exit, error, finished } = await site.try(...args);
      expect(finished.stderr + finished.stdout).not.toMatch(/\bat .*\.ts:|node:internal/);
      seen.push([args, exit, error?.code]);
    }
    expect(seen).toEqual(cases);
  });

  it('tells a wrong server, a wrong token and no server apart', async () => {
    const list = (env: Record<string, string>) => kallio(['attesters', 'list'], { ...site.operator, ...env });
    expect((await list({})).exit).toBe(0);
    const wrong = join(site.dir, 'wrong-token');
    await writeFile(wrong, `kallio_token_${'A'.repeat(43)}`);
    expect((await list({ KALLIO_TOKEN_FILE: wrong })).error?.code).toBe('UNAUTHENTICATED');
    const [root = ''] = site.maker.roots;
    expect((await list({ KALLIO_CA: root })).error?.code).toBe('SERVER_UNTRUSTED');
    const away = `https://127.0.0.1:${await freePort()}`;
    expect((await list({ KALLIO_SERVER: away })).error?.code).toBe('SERVER_UNREACHABLE');
  });

  it('does with --help what it says', async () => {
    for (const name of ['server', 'agent', 'enrol', 'build', 'verify', 'log', 'attesters', 'sessions']) {
      const { finished } = await kallio([name, '--help']);
      expect([name, finished.code]).toEqual([name, 0]);
      expect(finished.stdout).toContain(`Usage: kallio ${name}`);
    }
    for (const name of ['packages', 'apps', 'instances', 'doctor']) {
      const { finished } = await kallio([name, '--help']);
      expect([name, finished.code]).toEqual([name, 0]);
      expect(finished.stdout).toContain(`Usage: kallio ${name}`);
    }
  });
});
