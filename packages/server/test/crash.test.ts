import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digestOf, utf8 } from '@kallio/codec';
import {
  attesterShow,
  Client,
  evidenceSubmit,
  sessionClose,
  sessionEvents,
  sessionShow,
} from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer } from '../src/index.ts';
import { admitted } from './fixture-attester.ts';
import { policies } from './fixture-policies.ts';
import { testServer } from './fixture-server.ts';
import { Maker, type TestTpm } from './fixture-tpm.ts';

let dir: string;
let maker: Maker;
let tpm: TestTpm;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-crash-'));
  maker = new Maker(join(dir, 'maker'));
  tpm = await maker.make('one');
});
afterAll(async () => {
  await tpm.powerOff();
  rmSync(dir, { recursive: true });
});

type Thread = 'main' | 'another';
type Moment = 'before' | 'after' | 'never';

/** A server that kills itself where a thread commits the first evidence: before it, or between it and the answer. */
async function doomed(dataDir: string, thread: Thread, moment: Moment) {
  const script = fileURLToPath(new URL('./fixture-doomed-server.ts', import.meta.url));
  const child = spawn(process.execPath, [script, dataDir], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, KALLIO_TEST_DOOM: `${thread} ${moment}` },
  });
  const [url] = await once(child.stdout, 'data');
  return { child, url: String(url) };
}

describe('a server that is killed', () => {
  const moments = [
    ['before the commit has seen nothing: the same evidence is judged when it comes again', 'before'],
    ['between commit and answer has kept the result: the same evidence is spent', 'after'],
    ['not at all answers', 'never'],
  ] as const;
  it.each<[what: string, where: string, thread: Thread, moment: Moment]>(
    moments.flatMap(([what, moment]) => [
      [what, 'that says something new', 'main', moment],
      [what, 'that says nothing new, and is committed by another thread', 'another', moment],
    ]),
  )('%s (evidence %s)', async (_, __, thread, moment) => {
    await tpm.reboot();
    const server = await testServer({ ekRoots: maker.roots, ...policies(dir) });
    const device = await admitted(server, tpm, 'device-1', 'device');
    const known = await device.connect(server);
    if (thread === 'another') {
      await known.call(evidenceSubmit, { body: await device.attest(known) });
      device.unchanged = true;
    }
    const dataDir = join(dir, `${thread}-${moment}`);
    cpSync(server.dataDir, dataDir, { recursive: true });
    await server.stop();
    const { adminToken, ca } = server;
    const identity = device.identity ?? { certificate: '', key: '' };

    const { child, url } = await doomed(dataDir, thread, moment);
    const client = new Client({ url, ca, identity });
    const before = await new Client({ url, ca, token: adminToken }).call(attesterShow, {
      params: { attester: 'device-1' },
    });
    const evidence = await device.attest(client);
    const sent = client.call(evidenceSubmit, { body: evidence });
    if (moment === 'never') {
      expect((await sent).platform.state).toBe('VERIFIED');
      child.kill('SIGKILL');
    } else {
      await expect(sent).rejects.toThrow(expect.objectContaining({ code: 'SERVER_UNREACHABLE' }));
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');

    const again = await startServer({ dataDir });
    try {
      const admin = new Client({ url: again.url, ca, token: adminToken });
      const after = await admin.call(attesterShow, { params: { attester: 'device-1' } });
      const retried = new Client({ url: again.url, ca, identity }).call(evidenceSubmit, { body: evidence });
      if (moment === 'before') {
        expect(after.result).toBe(before.result);
        expect((await retried).platform.state).toBe('VERIFIED');
      } else {
        expect(after.state).toBe('VERIFIED');
        expect(after.result).not.toBe(before.result);
        await expect(retried).rejects.toThrow(expect.objectContaining({ code: 'NONCE_SPENT' }));
      }
    } finally {
      await again.close();
    }
  });
});

describe('a server that is killed while a session closes', () => {
  const image = digestOf(utf8('an image'));
  const statement = digestOf(utf8('claims'));

  it.each<[what: string, moment: Moment]>([
    ['before the commit: the session is open, and closes on evidence that is asked for anew', 'before'],
    ['between commit and answer: the session is closed, and says so to whoever asks again', 'after'],
  ])('%s', async (_, moment) => {
    await tpm.reboot();
    const server = await testServer({ ekRoots: maker.roots, ...policies(dir) });
    const builder = await admitted(server, tpm, 'be-1');
    const session = await builder.openSession(await builder.connect(server));
    const dataDir = join(dir, `session-${moment}`);
    cpSync(server.dataDir, dataDir, { recursive: true });
    await server.stop();
    const { ca } = server;
    const identity = builder.identity ?? { certificate: '', key: '' };

    const { child, url } = await doomed(dataDir, 'main', moment);
    const client = new Client({ url, ca, identity });
    const body = await builder.closing(client, session, image, statement);
    const sent = client.call(sessionClose, { params: { session }, body });
    await expect(sent).rejects.toThrow(expect.objectContaining({ code: 'SERVER_UNREACHABLE' }));
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');

    const again = await startServer({ dataDir });
    try {
      const retried = new Client({ url: again.url, ca, identity });
      const { state } = await retried.call(sessionShow, { params: { session } });
      expect(state).toBe(moment === 'before' ? 'open' : 'closed');
      const close = (closing: typeof body) =>
        retried.call(sessionClose, { params: { session }, body: closing });
      if (moment === 'before') {
        await expect(close(body)).rejects.toThrow(expect.objectContaining({ code: 'NONCE_SPENT' }));
        const fresh = await builder.closing(retried, session, image, statement);
        expect(await close(fresh)).toMatchObject({
          state: 'closed',
          subject: image,
          evidence: { length: 2 },
        });
      } else {
        expect(await close(body)).toMatchObject({ state: 'closed', subject: image, evidence: { length: 2 } });
      }
      const { events } = await retried.call(sessionEvents, { params: { session } });
      expect(events.map(({ event }) => event)).toEqual(['created', 'opened', 'closed']);
    } finally {
      await again.close();
    }
  });
});
