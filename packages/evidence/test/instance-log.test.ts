import { createHash } from 'node:crypto';
import { canonicalBytes, concat, type Digest, fromHex, toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type InstanceEntry,
  type InstanceEvent,
  instanceCommitment,
  replayInstanceLog,
  runningInstances,
  zeroPcr,
} from '../src/index.ts';
import { at } from './support/bytes.ts';
import { code, outcome } from './support/refusal.ts';

const IMAGE: Digest = `sha256:${'ab'.repeat(32)}`;
const OTHER: Digest = `sha256:${'12'.repeat(32)}`;
const CONFIG: Digest = `sha256:${'cd'.repeat(32)}`;
const START = zeroPcr('sha256');

const created: InstanceEvent = {
  verb: 'create',
  instance: 'shop-1',
  container: 'c1',
  image: IMAGE,
  config: CONFIG,
};

function event(verb: InstanceEvent['verb'], change: Partial<InstanceEvent> = {}): InstanceEvent {
  return { verb, instance: 'shop-1', container: 'c1', image: IMAGE, ...change };
}

/** A log of these events, each with a salt of its own. */
function logOf(...events: readonly InstanceEvent[]): InstanceEntry[] {
  return events.map((one, seq) => ({ seq, salt: toHex(new Uint8Array(32).fill(seq + 1)), event: one }));
}

function pcr14(entries: readonly InstanceEntry[]): string {
  return toHex(replayInstanceLog(START, entries));
}

/** PCR 14 by the rule as it is written in docs/formats.md, and not by the code that is tested. */
function byRule(entries: readonly InstanceEntry[]): string {
  let value = new Uint8Array(32);
  for (const { seq, salt, event } of entries) {
    const commitment = createHash('sha256')
      .update(utf8('kallio-instance-v1\0'))
      .update(fromHex(salt))
      .update(canonicalBytes({ event, seq }))
      .digest();
    value = new Uint8Array(createHash('sha256').update(value).update(commitment).digest());
  }
  return toHex(value);
}

const LOG = logOf(
  created,
  event('start'),
  event('exec', { config: OTHER }),
  event('pause'),
  event('resume'),
  event('kill'),
  event('delete'),
);

describe('the instance log', () => {
  test('commits to an entry as the format says', () => {
    // By hand: printf 'kallio-instance-v1\0'<00 01 … 1f>'{"event":{"config":…,"verb":"create"},"seq":0}' | sha256sum
    const salt = toHex(Uint8Array.from({ length: 32 }, (_, i) => i));
    const entry: InstanceEntry = { seq: 0, salt, event: created };
    expect(toHex(instanceCommitment(entry))).toBe(
      '23decc46da26f632fae1bd9a9a9c79fab60ed9fd6be8668d75c0d8e7aaf8a230',
    );
    expect(pcr14([entry])).toBe('fd006c0d80cb241bf52b3d96cafee251b38fa7bcd772e6a9d56710ea56953a10');
  });

  test('replays to PCR 14, whole or from where an earlier replay ended', () => {
    expect(pcr14(LOG)).toBe(byRule(LOG));
    expect(pcr14([])).toBe('00'.repeat(32));
    for (let from = 0; from <= LOG.length; from++) {
      const first = replayInstanceLog(START, LOG.slice(0, from));
      expect(toHex(replayInstanceLog(first, LOG.slice(from), from))).toBe(byRule(LOG));
    }
    // What the boot left in the PCR is where the log goes on from.
    const before = new Uint8Array(32).fill(9);
    const [first] = LOG;
    if (first === undefined) throw new Error('one entry');
    expect(toHex(replayInstanceLog(before, [first]))).toBe(
      createHash('sha256').update(before).update(instanceCommitment(first)).digest('hex'),
    );
  });

  const changes: readonly [string, (entry: InstanceEntry) => InstanceEntry][] = [
    // Stops an event from being rewritten after it happened: what was done, to which container, of which image.
    ['verb', (entry) => ({ ...entry, event: { ...entry.event, verb: 'update' } })],
    ['instance', (entry) => ({ ...entry, event: { ...entry.event, instance: 'shop-2' } })],
    ['container', (entry) => ({ ...entry, event: { ...entry.event, container: 'c2' } })],
    ['image', (entry) => ({ ...entry, event: { ...entry.event, image: OTHER } })],
    ['config', (entry) => ({ ...entry, event: { ...entry.event, config: IMAGE } })],
    ['salt', (entry) => ({ ...entry, salt: '00'.repeat(32) })],
  ];
  test.each(changes)('fails the replay with another %s in any entry', (_, change) => {
    for (const [i, entry] of LOG.entries()) expect(pcr14(LOG.with(i, change(entry)))).not.toBe(pcr14(LOG));
  });

  test('fails the replay without the config that was handed to the runtime', () => {
    // Stops a container's configuration from being left open.
    const { config: _, ...rest } = created;
    const [first] = LOG;
    if (first === undefined) throw new Error('one entry');
    expect(pcr14(LOG.with(0, { ...first, event: rest }))).not.toBe(pcr14(LOG));
  });

  test('is refused with an entry left out, doubled or moved, and the entry is named', () => {
    // Stops a log that hides an event, or tells it in another order.
    for (const [i, entry] of LOG.entries()) {
      const next = LOG[i + 1];
      if (next === undefined) continue;
      for (const entries of [LOG.toSpliced(i, 1), LOG.toSpliced(i, 2, next, entry)]) {
        expect(() => pcr14(entries)).toThrow(code('INSTANCE_LOG_GAP', `/instanceLog/entries/${i}/seq`));
      }
      expect(() => pcr14(LOG.toSpliced(i, 0, entry))).toThrow(
        code('INSTANCE_LOG_GAP', `/instanceLog/entries/${i + 1}/seq`),
      );
    }
    expect(() => replayInstanceLog(START, LOG, 1)).toThrow(
      code('INSTANCE_LOG_GAP', '/instanceLog/entries/0/seq'),
    );
  });

  test('fails the replay with an entry left out or moved, and the others renumbered', () => {
    // Stops a gap from being papered over: the number is in the commitment.
    const renumbered = (entries: readonly InstanceEntry[]) =>
      entries.map((entry, seq) => ({ ...entry, seq }));
    expect(pcr14(renumbered(LOG))).toBe(pcr14(LOG));
    for (const [i, entry] of LOG.entries()) {
      const seen = new Set([pcr14(LOG), pcr14(renumbered(LOG.toSpliced(i, 1)))]);
      seen.add(pcr14(renumbered(LOG.toSpliced(i, 0, entry))));
      const next = LOG[i + 1];
      if (next !== undefined) seen.add(pcr14(renumbered(LOG.toSpliced(i, 2, next, entry))));
      expect(seen.size).toBe(next === undefined ? 3 : 4);
    }
  });

  test('fails the replay when its end is cut off', () => {
    // Stops the last container that was started from being left out.
    for (let length = 0; length < LOG.length; length++)
      expect(pcr14(LOG.slice(0, length))).not.toBe(pcr14(LOG));
  });

  test('can’t be guessed from its commitments, and shows no two events to be the same', () => {
    // Stops a neighbour who sees commitments alone from trying out images until one fits.
    const [a, b] = logOf(created, created);
    if (a === undefined || b === undefined) throw new Error('two entries');
    expect(instanceCommitment(a)).not.toEqual(instanceCommitment({ ...a, salt: b.salt }));
    expect(instanceCommitment({ ...b, salt: a.salt })).not.toEqual(instanceCommitment(a));
  });

  test.each(['', 'ab', 'AB'.repeat(32), 'ab'.repeat(31), 'ab'.repeat(33), 'zz'.repeat(32)])(
    'is refused with the salt %j',
    (salt) => {
      // Stops bytes from moving between salt and event: the salt has one length and one spelling.
      const [first] = LOG;
      if (first === undefined) throw new Error('one entry');
      pcr14([first]);
      expect(outcome(() => pcr14([{ ...first, salt }]))).toEqual({ code: 'CODEC_HEX' });
    },
  );

  test('commits to two different entries differently', () => {
    const text = fc.string({ minLength: 1, maxLength: 12, unit: 'binary' }).filter((s) => s.isWellFormed());
    const entry = fc.record({
      seq: fc.nat(3),
      salt: fc.constantFrom('00'.repeat(32), '01'.repeat(32)),
      event: fc.record<InstanceEvent>(
        {
          verb: fc.constantFrom('create', 'start', 'exec'),
          instance: text,
          container: text,
          image: fc.constantFrom(IMAGE, OTHER),
          config: fc.constantFrom(CONFIG, OTHER),
        },
        { requiredKeys: ['verb', 'instance', 'container', 'image'] },
      ),
    });
    fc.assert(
      fc.property(entry, entry, (a, b) => {
        const same = toHex(canonicalBytes(a)) === toHex(canonicalBytes(b));
        expect(toHex(instanceCommitment(a)) === toHex(instanceCommitment(b))).toBe(same);
      }),
      { numRuns: 300 },
    );
  });
});

describe('containers by the instance log', () => {
  const after = (...events: InstanceEvent[]) => runningInstances(logOf(...events));
  const honest = { container: 'c1', instance: 'shop-1', image: IMAGE, config: CONFIG, inconsistent: false };

  test.each<[string, InstanceEvent[], string]>([
    ['created', [created], 'created'],
    ['started', [created, event('start')], 'running'],
    ['paused', [created, event('start'), event('pause')], 'paused'],
    ['resumed', [created, event('start'), event('pause'), event('resume')], 'running'],
    ['told to stop', [created, event('start'), event('kill')], 'stopping'],
    ['saved', [created, event('start'), event('checkpoint')], 'stopping'],
    ['restored', [{ ...created, verb: 'restore' }], 'running'],
    ['entered', [created, event('start'), event('exec')], 'running'],
    ['entered while paused', [created, event('pause'), event('exec')], 'paused'],
    ['updated', [created, event('update')], 'created'],
    ['created again after its deletion', [created, event('start'), event('delete'), created], 'created'],
    // A runtime that failed is asked again.
    ['created again by a second try', [created, created], 'created'],
  ])('are %s', (_, events, phase) => {
    expect([...after(...events)]).toEqual([['c1', { ...honest, phase }]]);
  });

  test('end with their deletion, and no other', () => {
    // Stops a container from being taken off the list by the deletion of another.
    const second: InstanceEvent = { ...created, container: 'c2', instance: 'shop-2' };
    expect([...after(created, second, event('delete')).keys()]).toEqual(['c2']);
    expect([...after(created, second).keys()]).toEqual(['c1', 'c2']);
  });

  const flaws: readonly [string, InstanceEvent[]][] = [
    // Stops a container that runs one image from being shown under another's name.
    ['is started with another image', [created, event('start', { image: OTHER })]],
    ['is entered with another image', [created, event('start'), event('exec', { image: OTHER })]],
    ['is started under another name', [created, event('start', { instance: 'shop-2' })]],
    // Stops a container that the agent never saw created from being listed like one that it did.
    ['is started before its creation', [event('start')]],
    ['is entered before its creation', [event('exec')]],
    ['is started after its deletion', [created, event('delete'), event('start')]],
    // Stops a second creation, which the runtime refuses, from renaming what runs, or from wiping the mark away.
    ['is created again with another image', [created, event('start'), { ...created, image: OTHER }]],
    ['is restored under another name', [created, { ...created, verb: 'restore', instance: 'shop-2' }]],
    ['is created again after a contradiction', [created, event('exec', { image: OTHER }), created]],
    ['is created after it was started', [event('start'), created]],
  ];
  test.each(flaws)('contradict themselves for good when one %s', (_, events) => {
    expect(after(created, event('start')).get('c1')?.inconsistent).toBe(false);
    expect(after(...events).get('c1')?.inconsistent).toBe(true);
    expect(after(...events, event('start'), event('pause'), event('kill')).get('c1')?.inconsistent).toBe(
      true,
    );
    // Only a new container is one without contradiction.
    expect(after(...events, event('delete'), created).get('c1')?.inconsistent).toBe(false);
  });

  test('go on from what an earlier part of the log came to, and leave that as it was', () => {
    // Stops a verifier's record from being changed by a message that is refused later on.
    const events = LOG.map((entry) => entry.event);
    for (let from = 0; from <= events.length; from++) {
      const before = after(...events.slice(0, from));
      const copy = structuredClone(before);
      expect(runningInstances(logOf(...events.slice(from)), before)).toEqual(after(...events));
      expect(before).toEqual(copy);
    }
  });

  test('are found by any name that an object has already', () => {
    // Stops a container from hiding under a key that every object inherits.
    const names = ['constructor', 'toString', 'hasOwnProperty'];
    const events = names.map((container) => ({ ...created, container }));
    expect([...after(...events).keys()]).toEqual(names);
    expect(after().get('constructor')).toBeUndefined();
  });
});

test('the commitment’s label keeps it from being any other digest of the same bytes', () => {
  const entry = at(LOG, 0);
  const bare = createHash('sha256').update(
    concat(fromHex(entry.salt), canonicalBytes({ seq: entry.seq, event: entry.event })),
  );
  expect(toHex(instanceCommitment(entry))).not.toBe(bare.digest('hex'));
});
