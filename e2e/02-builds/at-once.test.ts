import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import {
  agentSessionAbandon,
  agentSessionAttest,
  agentSessionClose,
  agentSessionOpen,
  agentStatus,
  Client,
} from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Outcome } from '../src/site/kallio.ts';
import { until } from '../src/site/process.ts';
import { Site } from '../src/site/site.ts';

/*
 * Many builds of one build host at the same time, and an agent or server that is killed while they close: the agent's own
 * state, and what `kallio build` makes of it.
 */

let site: Site;
let agent: Client;

beforeAll(async () => {
  site = await Site.create();
  await Promise.all([site.startRegistry(), site.makeTpms([site.builder])]);
  await site.startServer();
  await site.startMachine(site.builder, 0);
  agent = new Client({ url: `unix:${site.builder.socket}`, timeoutMs: 60_000 });
  await admitted();
});
afterAll(async () => {
  await agent.close();
  await site.destroy();
});

const admitted = () =>
  until('the build host to be admitted', 30, async () => {
    const { admitted: is, state } = await agent.call(agentStatus, {});
    return (is && state === 'VERIFIED') || undefined;
  });
const folder = () => join(site.builder.dir, 'state', 'build-sessions');
const image = (tag: string) => `${site.registry}/app:${tag}`;

interface Shown {
  readonly state: string;
  readonly subject?: string;
  readonly reason?: { readonly code: string };
  readonly events: readonly { readonly event: string }[];
}
const show = async (session: string) => (await site.run('sessions', 'show', session)) as Shown;

/** Claims about an image that was made up: neither agent nor server looks at the image itself. */
function claims(name: string): { subject: { name: string; digest: Digest }; [field: string]: unknown } {
  const subject = { name: 'registry.example/app', digest: digestOf(utf8(name)) };
  return {
    subject,
    image: { index: [{ digest: digestOf(utf8(`${name}'s`)), os: 'linux', architecture: 'amd64' }] },
    fileManifest: { digest: digestOf(utf8('no files')), files: 0 },
  };
}

const open = async () => (await agent.call(agentSessionOpen, {})).session;
const attest = (session: string) => agent.call(agentSessionAttest, { params: { session } });
const abandon = (session: string) => agent.call(agentSessionAbandon, { params: { session } });
const close = (session: string, name = session) =>
  agent.call(agentSessionClose, { params: { session }, body: { claims: claims(name) } });

/** A minimal image: no base, one file. */
async function context(tag: string): Promise<string> {
  const made = join(site.dir, `context-${tag}`);
  await mkdir(made, { recursive: true });
  await writeFile(join(made, 'Containerfile'), 'FROM scratch\nCOPY greeting /greeting\nUSER 1000\n');
  await writeFile(join(made, 'greeting'), `hello from ${tag}\n`);
  return made;
}
async function build(tag: string, ...flags: string[]): Promise<Outcome> {
  return site.try('build', '-t', image(tag), await context(tag), '--agent', site.builder.socket, ...flags);
}
const verified = async (tag: string) =>
  (await site.try('verify', image(tag), '--policy', site.imagePolicy, '--evidence')).json;

describe('sessions of one build host at the same time', () => {
  it('are opened, shown evidence of, closed and given up in any order, and survive the agent', async () => {
    const kept: string[] = [];
    for (let round = 0; round < 6; round++) {
      const sessions = await Promise.all([open(), open(), open(), open()]);
      const [a = '', b = '', c = '', d = ''] = sessions;
      const [closed, shown] = await Promise.all([
        close(a),
        attest(b),
        abandon(c),
        open().then(abandon),
        attest(d),
      ]);
      expect(closed.record).toMatchObject({ state: 'closed', subject: claims(a).subject.digest });
      expect(shown.evidence).toHaveLength(2);
      await Promise.all([close(b), abandon(d)]);
      kept.push(await open());
    }
    const files = await readdir(folder());
    expect(files.filter((name) => !name.endsWith('.json'))).toEqual([]);
    for (const name of files) JSON.parse(await readFile(join(folder(), name), 'utf8'));
    await site.builder.stopAgent('SIGKILL');
    await site.builder.startAgent();
    const all = await Promise.all(kept.map((session) => close(session)));
    expect(all.map(({ record }) => record.state)).toEqual(kept.map(() => 'closed'));
    expect(all.map(({ evidence }) => evidence.length)).toEqual(kept.map(() => 2));
  });

  it('give two builds that run at once two signed images', async () => {
    const both = await Promise.all([build('left'), build('right', '--attest-every', '1')]);
    expect(both.map(({ exit, error }) => [exit, error])).toEqual([
      [0, undefined],
      [0, undefined],
    ]);
    for (const tag of ['left', 'right']) expect(await verified(tag)).toMatchObject({ ok: true });
    const built = both.map(({ json }) => json as { session: string; digest: string; logIndex: number });
    expect(new Set(built.map(({ session }) => session)).size).toBe(2);
    for (const { session, digest, logIndex } of built) {
      // What happened in each, held against its digest chain and its signed result; and where its signature is.
      const { events, ...record } = await show(session);
      expect(record).toMatchObject({
        state: 'closed',
        subject: digest,
        logIndex,
        policy: { id: 'bare-tpm-builder' },
      });
      expect([events[0]?.event, events[1]?.event, events.at(-1)?.event]).toEqual([
        'created',
        'opened',
        'closed',
      ]);
    }
  });
});

/** Waits until the agent has kept this step of a session. */
async function keptStep(session: string, step: 'asked' | 'signed'): Promise<void> {
  const file = join(folder(), `${session}.json`);
  for (const end = Date.now() + 30_000; Date.now() < end; await wait(1)) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.includes(`"${step}":`)) return;
  }
  throw new Error(`the agent has not kept what is ${step}`);
}

describe('an agent that is killed while a session closes', () => {
  it.each(['asked', 'signed'] as const)('right after it kept what is %s goes on from there', async (step) => {
    const session = await open();
    const began = close(session).catch((error: unknown) => error);
    await keptStep(session, step);
    await site.builder.stopAgent('SIGKILL');
    await began;
    await site.builder.startAgent();
    const done = await close(session);
    expect(done).toMatchObject({ record: { state: 'closed' }, evidence: { length: 2 } });
    expect(await show(session)).toMatchObject({ state: 'closed', subject: claims(session).subject.digest });
    // Asked again it answers the same, and nothing is in the log twice.
    const again = await close(session);
    expect(again.envelope).toEqual(done.envelope);
    expect(again.entry.logIndex).toBe(done.entry.logIndex);
    expect(again.provenance.entry.logIndex).toBe(done.provenance.entry.logIndex);
    // One session, one image: also for who asks the agent.
    await expect(close(session, 'another image')).rejects.toThrow(
      expect.objectContaining({ code: 'BUILD_SESSION_CLOSING' }),
    );
  });

  it('before it has signed, signs when it is up again, unless its key was replaced', async () => {
    const session = await open();
    const { record, publicKey } = await close(session);
    const unsigned = async () => {
      await site.builder.stopAgent('SIGKILL');
      const file = join(folder(), `${session}.json`);
      const { signed, ...kept } = JSON.parse(await readFile(file, 'utf8')) as { signed: unknown };
      expect(signed).toBeDefined();
      await writeFile(file, JSON.stringify(kept));
      await site.builder.startAgent();
    };
    await unsigned();
    expect(await close(session)).toMatchObject({ record, publicKey });
    await unsigned();
    await site.run('agent', 'rotate-signing-key', '--socket', site.builder.socket);
    await expect(close(session)).rejects.toThrow(expect.objectContaining({ code: 'SIGNING_KEY_REPLACED' }));
  });

  it('does not fail the build, once it is up again', async () => {
    const before = new Set(await readdir(folder()));
    const building = build('killed');
    const session = await until('the session', 30, async () => {
      const name = (await readdir(folder())).find((one) => one.endsWith('.json') && !before.has(one));
      return name?.slice(0, -'.json'.length);
    });
    await keptStep(session, 'asked');
    await site.builder.stopAgent('SIGKILL');
    await wait(1_000);
    await site.builder.startAgent();
    const { exit, error } = await building;
    expect([exit, error]).toEqual([0, undefined]);
    expect(await verified('killed')).toMatchObject({ ok: true, session });
  });
});

describe('a server that is killed while a session closes', () => {
  it('does not fail the build, once it is up again', async () => {
    const before = new Set(await readdir(folder()));
    const building = build('server-killed');
    const session = await until('the session', 30, async () => {
      const name = (await readdir(folder())).find((one) => one.endsWith('.json') && !before.has(one));
      return name?.slice(0, -'.json'.length);
    });
    await keptStep(session, 'asked');
    await site.restartServer('SIGKILL');
    const { exit, error } = await building;
    expect([exit, error]).toEqual([0, undefined]);
    expect(await verified('server-killed')).toMatchObject({ ok: true, session });
  });
});
