import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseReference, Repository } from '@kallio/oci';
import { agentSessionAbandon } from '@kallio/protocol';
import { Client } from '@kallio/protocol/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { kallio, type Outcome } from '../src/site/kallio.ts';
import { until } from '../src/site/process.ts';
import { RegistryProxy } from '../src/site/registry-proxy.ts';
import { Site } from '../src/site/site.ts';
import { UnderWay } from '../src/site/under-way.ts';

/*
 * A build that ends before its time, by a signal or a failure, in each of its steps. Nothing of it is left on the machine, no
 * session stays open, and the tag names nothing.
 */

let site: Site;
let proxy: RegistryProxy;
let context: string;
const scratch = () => join(site.dir, 'scratch');
const file = (name: string) => join(site.dir, name);
const reference = (tag: string) => `${proxy.host}/app:${tag}`;
const env = () => ({ ...site.operator, TMPDIR: scratch() });
const args = (tag: string, ...flags: string[]) => [
  ...['build', '-t', reference(tag), context, '--agent', site.builder.socket],
  ...flags,
];
const begin = (tag: string, ...flags: string[]) => new UnderWay(args(tag, ...flags), env());
const build = (tag: string, ...flags: string[]): Promise<Outcome> => kallio(args(tag, ...flags), env());

interface Session {
  readonly session: string;
  readonly state: string;
  readonly reason?: { readonly code: string };
}

async function sessions(): Promise<readonly Session[]> {
  return ((await site.run('sessions', 'list')) as { sessions: Session[] }).sessions;
}

async function isThere(path: string): Promise<true | undefined> {
  return access(path).then(
    () => true,
    () => undefined,
  );
}

/** The sessions that the agent keeps: those of builds that were told of their end, for a while. */
const kept = async () => (await readdir(join(site.builder.dir, 'state', 'build-sessions'))).sort();
let keptBefore: readonly string[] = [];
beforeEach(async () => {
  keptBefore = await kept();
});

/** Nothing on this machine and with its agent, no session that goes on, no tag; the newest session. */
async function nothingLeft(tag: string): Promise<Session | undefined> {
  expect(await readdir(scratch())).toEqual([]);
  expect(await kept()).toEqual(keptBefore);
  expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(scratch());
  // What the agent or the server was in the middle of comes to its end.
  await until('every session to have ended', 20, async () => {
    const open = (await sessions()).filter(({ state }) => state === 'open' || state === 'opening');
    return open.length === 0 || undefined;
  });
  const registry = new Repository(parseReference(`${site.registry}/app`));
  await expect(registry.manifest(tag)).rejects.toMatchObject({ code: 'OCI_NOT_FOUND' });
  return (await sessions())[0];
}

beforeAll(async () => {
  site = await Site.create();
  await Promise.all([site.startRegistry(), site.makeTpms([site.builder]), site.startServer()]);
  await site.startMachine(site.builder, 0);
  proxy = await RegistryProxy.start(site.registry);
  await mkdir(scratch());
  context = file('context');
  await mkdir(context);
  await writeFile(join(context, 'greeting'), 'moi');
  await writeFile(join(context, 'Containerfile'), 'FROM scratch\nCOPY greeting /greeting\n');
  // The honest twin of all: the agent is enrolled, and a build comes to its end.
  expect((await build('first')).error).toBeUndefined();
});
afterEach(() => {
  proxy.fate = () => 'passes';
});
afterAll(async () => {
  await proxy.stop();
  await site.destroy();
});

describe('a signal ends a build', () => {
  it('that opens its session: the session is given up once it is known', async () => {
    site.server.freeze();
    const running = begin('opening');
    await running.says('… open the session');
    await wait(300);
    running.signal('SIGINT');
    site.server.wake();
    expect(await running.ended()).toBe(130);
    expect(running.said).toContain('BUILD_INTERRUPTED: SIGINT ended the build');
    expect(await nothingLeft('opening')).toMatchObject({
      state: 'failed',
      reason: { code: 'SESSION_ABANDONED' },
    });
  });

  it('that runs buildah, with all of buildah’s storage', async () => {
    const slow = file('slow');
    await mkdir(slow);
    await writeFile(
      join(slow, 'Containerfile'),
      'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sleep", "600"]\n',
    );
    await writeFile(join(slow, 'busybox'), await readFile('/bin/busybox'), { mode: 0o755 });
    const [, , , , ...rest] = args('buildah');
    const running = new UnderWay(['build', '-t', reference('buildah'), slow, ...rest], env());
    await running.says('sleep');
    await until('its storage to be mounted', 20, async () => {
      return (await readFile('/proc/self/mountinfo', 'utf8')).includes(scratch()) || undefined;
    });
    running.signal('SIGTERM');
    expect(await running.ended()).toBe(143);
    expect(await nothingLeft('buildah')).toMatchObject({
      state: 'failed',
      reason: { code: 'SESSION_ABANDONED' },
    });
  });

  it('whose builder won’t hear it: that is killed, and what it mounted is unmounted', async () => {
    const began = file('stubborn');
    const script = `trap "" TERM INT HUP; mkdir "$OUT" && mount -t tmpfs none "$OUT" && touch ${began}; sleep 600; sleep 600`;
    const running = begin('stubborn', '--builder', script, '--attest-every', '1');
    await until('the builder to begin', 20, () => isThere(began));
    running.signal('SIGINT');
    expect(await running.ended()).toBe(130);
    expect((await nothingLeft('stubborn'))?.state).toBe('failed');
  });

  it('that reads what was built', async () => {
    // A layer of 128 MiB, of which nothing is on the disk: to read it takes a second.
    const script = [
      'mkdir -p "$OUT/blobs/sha256" && cd "$OUT" && truncate -s 134217728 big',
      'sha=$(sha256sum big | cut -d" " -f1) && mv big blobs/sha256/$sha',
      `put() { s=$(printf %s "$1" | sha256sum | cut -d" " -f1); printf %s "$1" > blobs/sha256/$s; n=$(printf %s "$1" | wc -c); }`,
      `put "{\\"os\\":\\"linux\\",\\"architecture\\":\\"amd64\\",\\"rootfs\\":{\\"type\\":\\"layers\\",\\"diff_ids\\":[\\"sha256:$sha\\"]}}"`,
      `put "{\\"schemaVersion\\":2,\\"config\\":{\\"mediaType\\":\\"application/vnd.oci.image.config.v1+json\\",\\"digest\\":\\"sha256:$s\\",\\"size\\":$n},\\"layers\\":[{\\"mediaType\\":\\"application/vnd.oci.image.layer.v1.tar\\",\\"digest\\":\\"sha256:$sha\\",\\"size\\":134217728}]}"`,
      `printf %s "{\\"schemaVersion\\":2,\\"manifests\\":[{\\"mediaType\\":\\"application/vnd.oci.image.manifest.v1+json\\",\\"digest\\":\\"sha256:$s\\",\\"size\\":$n}]}" > index.json`,
    ].join('\n');
    const running = begin('reading', '--builder', script);
    await running.says('… read what was built');
    running.signal('SIGTERM');
    expect(await running.ended()).toBe(143);
    expect(running.said).not.toContain('✔ read what was built');
    expect((await nothingLeft('reading'))?.state).toBe('failed');
  });

  it('that closes its session: it ends, closed or not, and nothing is pushed', async () => {
    const [began, mayGoOn] = [file('closing-began'), file('closing-may-go-on')];
    const storage = '--root "$OUT.s" --runroot "$OUT.r"';
    const script = `touch ${began}; until [ -e ${mayGoOn} ]; do sleep 0.05; done; buildah ${storage} bud --isolation chroot --tag x "$1" && buildah ${storage} push --quiet x "oci:$OUT:x"`;
    const running = begin('closing', '--builder', script);
    await until('the builder to begin', 20, () => isThere(began));
    site.server.freeze();
    await writeFile(mayGoOn, '');
    await running.says('… close, sign, log');
    await wait(300);
    running.signal('SIGINT');
    await wait(300);
    site.server.wake();
    expect(await running.ended()).toBe(130);
    expect(running.said).not.toContain('push image');
    expect((await nothingLeft('closing'))?.state).toMatch(/^(?:closed|failed)$/);
  });

  it.each([
    ['the image', 'SIGHUP', 129, '… push image', (path: string) => /\/manifests\/sha256:/.test(path)],
    [
      'its signature',
      'SIGTERM',
      143,
      '… push signature',
      (path: string) => /\/manifests\/sha256-/.test(path),
    ],
    [
      'its tag',
      'SIGINT',
      130,
      '… move the tag',
      (path: string) => path.endsWith('/manifests/pushing-its-tag'),
    ],
  ] as const)('that pushes %s: no tag leads to it', async (what, signal, exit, step, held) => {
    const tag = `pushing-${what.replaceAll(' ', '-')}`;
    const before = proxy.hung;
    proxy.fate = (method, path) => (method === 'PUT' && held(path) ? 'hangs' : 'passes');
    const running = begin(tag);
    await running.says(step);
    await until('a question that hangs', 30, async () => proxy.hung > before || undefined);
    running.signal(signal);
    expect(await running.ended()).toBe(exit);
    // Signed and logged it is: what closed stays closed.
    expect((await nothingLeft(tag))?.state).toBe('closed');
    // The honest twin: the same build, which nobody ends.
    proxy.fate = () => 'passes';
    expect((await build(tag)).error).toBeUndefined();
    expect((await site.try('verify', reference(tag), '--policy', site.imagePolicy)).exit).toBe(0);
  });
});

describe('a failure leaves nothing behind', () => {
  it('of the builder', async () => {
    const script = 'mkdir -p "$OUT/blobs" && touch "$OUT/index.json" && (sleep 600 &) ; exit 3';
    const outcome = await build('failing', '--builder', script);
    expect(outcome).toMatchObject({
      error: { code: 'CLI_BUILDER', message: expect.stringContaining('(3)') },
    });
    expect(await nothingLeft('failing')).toMatchObject({ reason: { code: 'SESSION_ABANDONED' } });
  });

  it('of a registry that dies while it is pushed to', async () => {
    let puts = 0;
    proxy.fate = (method) => (method === 'PUT' && ++puts > 2 ? 'breaks' : 'passes');
    const outcome = await build('dying');
    expect(puts).toBeGreaterThan(2);
    expect(outcome.error?.code).toBe('OCI_UNREACHABLE');
    expect((await nothingLeft('dying'))?.state).toBe('closed');
    proxy.fate = () => 'passes';
    expect((await build('dying')).error).toBeUndefined();
    expect((await site.try('verify', reference('dying'), '--policy', site.imagePolicy)).exit).toBe(0);
  });

  it('of the second closing of several: what closed before is logged, and nothing is pushed', async () => {
    const [began, mayGoOn] = [file('second-began'), file('second-may-go-on')];
    const storage = '--root "$OUT.s" --runroot "$OUT.r"';
    const both = ['--platform', 'linux/amd64,linux/arm64'];
    const script = [
      `touch ${began}; until [ -e ${mayGoOn} ]; do sleep 0.05; done`,
      `buildah ${storage} bud --isolation chroot --platform "$PLATFORM" --manifest m "$1" 1>&2`,
      `buildah ${storage} manifest push --quiet --all m "oci:$OUT:x"`,
    ].join(' && ');
    const before = new Set((await sessions()).map(({ session }) => session));
    const running = build('second', '--builder', script, ...both);
    await until('the builder to begin', 20, () => isThere(began));
    // The newest is the first of the list, and the last that was opened: the index's. The image before it is the second.
    const [, second, first] = (await sessions()).filter(({ session }) => !before.has(session));
    const agent = new Client({ url: `unix:${site.builder.socket}` });
    await agent.call(agentSessionAbandon, { params: { session: second?.session ?? '' } });
    await agent.close();
    await writeFile(mayGoOn, '');
    expect((await running).error?.code).toBe('BUILD_SESSION_UNKNOWN');
    await nothingLeft('second');
    const states = new Map((await sessions()).map(({ session, state }) => [session, state]));
    expect(states.get(first?.session ?? '')).toBe('closed');
    expect(states.get(second?.session ?? '')).toBe('failed');
    // The honest twin: the same, and nobody gives a session up.
    expect((await build('second', '--builder', script, ...both)).error).toBeUndefined();
  });

  it('of an agent that is not there', async () => {
    const outcome = await kallio(
      ['build', '-t', reference('none'), context, '--agent', file('none.sock')],
      env(),
    );
    expect(outcome.error?.code).toBe('AGENT_UNREACHABLE');
    await nothingLeft('none');
  });
});
