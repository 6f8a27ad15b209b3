import { DatabaseSync } from 'node:sqlite';
import { type Continuity, continuityToJson } from '@kallio/appraisal';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import { expect, it } from 'vitest';
import { claimOf, freshStore, T } from './fixture-store.ts';

const fresh = freshStore();

const hex = (digit: string) => digit.repeat(64);
const digest = (name: string): Digest => digestOf(utf8(name));
const eventLog = (name: string): NonNullable<Continuity['eventLog']> => ({
  digest: digest(name),
  pcrs: { '0': hex('a') },
  events: [{ index: 1, pcr: 0, digest: hex('b') }],
  refusals: [],
});
const inventory = (name: string): NonNullable<Continuity['inventory']> => ({
  digest: digest(name),
  value: { scope: name, containers: [], changed: [] },
});

function continuity(clock: bigint, parts: Pick<Continuity, 'eventLog' | 'inventory'> = {}): Continuity {
  return {
    boot: { resetCount: 1, restartCount: 0, clock, safe: true, firmwareVersion: 1n },
    instanceLog: { entries: 0, pcr: hex('0'), containers: [], images: [] },
    ...parts,
  };
}

/** An admitted claim, and a way to store its next continuity. */
function attester(name: string) {
  const { claim } = fresh.store.claims.insert(claimOf(name, `ek ${name}`), 'admitted', undefined, 'test', T);
  let results = 0;
  return {
    claim,
    set: (from: number, value: Continuity) =>
      fresh.store.transaction(() => {
        const result = digest(`result ${name} ${results++}`);
        const platform = { state: 'VERIFIED' as const, reasons: [] };
        const record = { attester: name, purpose: 'attest' as const, policy: 'p', limits: [], instances: {} };
        fresh.store.results.insert(
          {
            digest: result,
            claim,
            at: T,
            ear: '',
            record: { ...record, platform, evidence: digest('evidence') },
          },
          {},
          false,
        );
        fresh.store.continuity.set(claim, from, value, result);
      }),
    get: () => fresh.store.continuity.get(claim),
  };
}

function parts(): number {
  const db = new DatabaseSync(fresh.path);
  const row = db.prepare('SELECT count(*) AS n FROM continuity_parts').get();
  db.close();
  return Number(row?.n);
}

it('gives back what was kept, also after a restart', () => {
  const one = attester('a');
  const value = continuity(5n, { eventLog: eventLog('log'), inventory: inventory('all') });
  one.set(0, value);
  expect(one.get()).toEqual({ version: 1, value });
  fresh.reopen();
  expect(one.get()).toEqual({ version: 1, value });
  const bare = continuity(6n);
  one.set(1, bare);
  expect(one.get()).toEqual({ version: 2, value: bare });
  fresh.reopen();
  expect(one.get()).toEqual({ version: 2, value: bare });
});

it('keeps an event log once, whoever shows it and however often, and another one beside it', () => {
  const [one, two] = [attester('a'), attester('b')];
  one.set(0, continuity(1n, { eventLog: eventLog('log') }));
  two.set(0, continuity(1n, { eventLog: eventLog('log') }));
  one.set(1, continuity(2n, { eventLog: eventLog('log') }));
  expect(parts()).toBe(1);
  expect(one.get()?.value.eventLog).toBe(two.get()?.value.eventLog);
  two.set(1, continuity(2n, { eventLog: eventLog('another') }));
  expect(parts()).toBe(2);
  expect(one.get()?.value.eventLog).toEqual(eventLog('log'));
  expect(two.get()?.value.eventLog).toEqual(eventLog('another'));
});

it('forgets parts that no attester has any more, and no others', () => {
  const one = attester('a');
  one.set(0, continuity(1n, { eventLog: eventLog('log'), inventory: inventory('first') }));
  const value = continuity(2n, { eventLog: eventLog('log'), inventory: inventory('second') });
  one.set(1, value);
  expect(parts()).toBe(3);
  fresh.store.continuity.prune();
  expect(parts()).toBe(2);
  fresh.reopen();
  expect(one.get()?.value).toEqual(value);
  // A part that went may come again.
  one.set(2, continuity(3n, { eventLog: eventLog('log'), inventory: inventory('first') }));
  fresh.reopen();
  expect(one.get()?.value.inventory).toEqual(inventory('first'));
});

it('knows nothing of what was rolled back, and takes it when it comes again', () => {
  const one = attester('a');
  const before = continuity(1n);
  const after = continuity(2n, { eventLog: eventLog('log') });
  one.set(0, before);
  expect(() =>
    fresh.store.transaction(() => {
      one.set(1, after);
      expect(one.get()).toEqual({ version: 2, value: after });
      throw new Error('no');
    }),
  ).toThrow('no');
  expect(one.get()).toEqual({ version: 1, value: before });
  expect(parts()).toBe(0);
  one.set(1, after);
  expect(one.get()).toEqual({ version: 2, value: after });
  fresh.reopen();
  expect(one.get()).toEqual({ version: 2, value: after });
});

it('refuses the second of two judgements from one point', () => {
  const one = attester('a');
  one.set(0, continuity(1n));
  expect(() => one.set(0, continuity(2n))).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
  expect(one.get()?.value).toEqual(continuity(1n));
  one.set(1, continuity(2n));
  expect(one.get()?.value).toEqual(continuity(2n));
});

it('reads what a server kept before parts stood by themselves', () => {
  const one = attester('a');
  one.set(0, continuity(1n));
  const value = continuity(1n, { eventLog: eventLog('log'), inventory: inventory('all') });
  const db = new DatabaseSync(fresh.path);
  db.prepare('UPDATE continuity SET value = ?').run(continuityToJson(value));
  db.close();
  fresh.reopen();
  expect(one.get()).toEqual({ version: 1, value });
});
