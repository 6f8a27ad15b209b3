import { evidenceSubmit } from '@kallio/protocol';
import { CommitThread, type Write } from '@kallio/store';
import { expect, it } from 'vitest';
import { submitEvidence } from '../src/attestation/evidence.ts';
import { Turns } from '../src/attestation/turns.ts';
import { admitted } from './fixture-attester.ts';
import { testSite } from './fixture-site.ts';
import { copiedVerifier } from './fixture-verifier.ts';

const site = testSite(['one']);
const code = (c: string) => expect.objectContaining({ code: c });

/** Notes what became of each work; something may happen before it goes to the thread, and after it was answered. */
class Observed extends CommitThread {
  readonly outcomes: (boolean | string)[] = [];
  before: () => void = () => undefined;
  after: () => void = () => undefined;

  override async commit(writes: readonly Write[]): Promise<boolean> {
    this.before();
    try {
      const isWritten = await super.commit(writes);
      this.after();
      this.outcomes.push(isWritten);
      return isWritten;
    } catch (error) {
      this.outcomes.push(String(error));
      throw error;
    }
  }
}

/** A copy of a server that knows a device well, and evidence of it that says nothing new. */
async function steady(name: string) {
  const { server } = site;
  const device = await admitted(server, site.tpm('one'), 'device-1', 'device');
  const client = await device.connect(server);
  await client.call(evidenceSubmit, { body: await device.attest(client) });
  device.unchanged = true;
  const observed: Observed[] = [];
  const { verifier, close } = await copiedVerifier(site, name, {
    commits: (path) => {
      const commits = new Observed(path);
      observed.push(commits);
      return commits;
    },
  });
  const [commits] = observed;
  if (commits === undefined) throw new Error('nothing commits');
  const { store, nonces } = verifier;
  const now = () => server.now();
  const claim = store.claims.admittedAs('device-1')?.claim ?? 0;
  const evidence = () => {
    const { nonce } = nonces.issue({ attester: 'device-1', purpose: 'attest' }, now());
    return device.evidence({ purpose: 'attest', nonce });
  };
  // Turns of its own for each: as if the same were judged elsewhere.
  const submit = (message: Awaited<ReturnType<typeof evidence>>) =>
    submitEvidence({ ...verifier, turns: new Turns() }, 'device-1', message, now());
  const last = () => store.results.lastOf(claim)?.digest;
  return { store, claim, commits, evidence, submit, close, last };
}

it('is recorded by the other thread where nothing has changed, time and again', async () => {
  const { commits, evidence, submit, close, last, store } = await steady('steady');
  const before = last();
  const changes = store.events.after(0, 100).length;
  for (let i = 0; i < 3; i++) {
    const { platform, result } = await submit(await evidence());
    expect(platform.state).toBe('VERIFIED');
    expect(last()).toBe(result);
    expect(last()).not.toBe(before);
  }
  expect(commits.outcomes).toEqual([true, true, true]);
  expect(store.events.after(0, 100)).toHaveLength(changes);
  await close();
});

it('leaves no trace of an attester that was refused between judging and commit', async () => {
  // Attack: a machine that the operator throws out has evidence under way.
  const { store, claim, commits, evidence, submit, close, last } = await steady('refused');
  const honest = await submit(await evidence());
  commits.before = () =>
    store.claims.decide(claim, 'refused', undefined, 'token:op', site.server.now().getTime());
  await expect(submit(await evidence())).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));
  expect(commits.outcomes).toEqual([true, false]);
  expect(last()).toBe(honest.result);
  await close();
});

it('tells that an attester is well again, which was told STALE between judging and commit', async () => {
  const { store, claim, commits, evidence, submit, close, last } = await steady('stale');
  await submit(await evidence());
  const changes = store.events.after(0, 100).length;
  commits.before = () => {
    const { instances = {} } = store.standings.get(claim) ?? {};
    store.standings.set(claim, { platform: 'STALE', instances });
  };
  const { result } = await submit(await evidence());
  expect(commits.outcomes).toEqual([true, false]);
  expect(last()).toBe(result);
  const [told, ...others] = store.events.after(0, 100).slice(changes);
  expect(told).toMatchObject({ type: 'attester.state', data: { from: 'STALE', to: 'VERIFIED', result } });
  expect(others).toEqual([]);
  expect(store.standings.get(claim)?.platform).toBe('VERIFIED');
  await close();
});

it('is recorded once, where the same comes twice at one time', async () => {
  const { commits, evidence, submit, close, last } = await steady('twice');
  const message = await evidence();
  const [first, second] = await Promise.allSettled([submit(message), submit(message)]);
  expect(first).toMatchObject({ status: 'fulfilled', value: { result: last() } });
  expect(second).toMatchObject({ status: 'rejected', reason: { code: 'NONCE_SPENT' } });
  expect(commits.outcomes).toEqual([true, false]);
  await expect(submit(message)).rejects.toThrow(code('NONCE_SPENT'));
  await close();
});

it('is refused when the thread ends before the commit: nothing is written, and the same works then', async () => {
  const { commits, evidence, submit, close, last } = await steady('ended');
  const before = last();
  const message = await evidence();
  let bad: Promise<unknown> | undefined;
  commits.before = () => {
    commits.before = () => undefined;
    bad = commits.commit([{ sql: 'no SQL at all', values: [] }]).catch(() => undefined);
  };
  await expect(submit(message)).rejects.toThrow('syntax error');
  await bad;
  expect(last()).toBe(before);
  expect((await submit(message)).result).toBe(last());
  expect(last()).not.toBe(before);
  expect((await submit(await evidence())).result).toBe(last());
  expect(commits.outcomes.slice(-2)).toEqual([true, true]);
  await close();
});

it('is spent when the thread ends between commit and answer, and the next goes on from there', async () => {
  const { commits, evidence, submit, close, last } = await steady('lost');
  const before = last();
  const message = await evidence();
  commits.after = () => {
    commits.after = () => undefined;
    throw new Error('the answer was lost');
  };
  // As if the answer had never come: what was to be done with it is not done.
  const real = commits.commit.bind(commits);
  commits.commit = (writes) => real(writes.map(({ sql, values }) => ({ sql, values })));
  await expect(submit(message)).rejects.toThrow('the answer was lost');
  commits.commit = real;
  expect(last()).not.toBe(before);
  await expect(submit(message)).rejects.toThrow(code('NONCE_SPENT'));
  expect((await submit(await evidence())).result).toBe(last());
  expect(commits.outcomes.at(-1)).toBe(true);
  await close();
});
