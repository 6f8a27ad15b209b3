import { digestOf, utf8 } from '@kallio/codec';
import type { State } from '@kallio/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dueOf, isTold, tellChanges } from '../src/events/changes.ts';
import { defaultConfig } from '../src/setup/config.ts';
import type { StoredResult } from '../src/store/results.ts';
import type { Standing } from '../src/store/standings.ts';
import { claimOf, freshStore, T } from './fixture-store.ts';

const fresh = freshStore();
const config = defaultConfig({
  listen: '127.0.0.1:0',
  names: ['localhost'],
  trustDomain: 'edge.test',
  issuer: 'verifier.edge.test',
  log: { name: 'log.edge.test' },
});

const states = ['VERIFIED', 'DEGRADED', 'VIOLATED', 'STALE', 'UNKNOWN'] as const satisfies State[];
// Names that an object has of itself, too.
const instance = fc.constantFrom('one', 'two', 'toString', '__proto__', 'constructor');
const state = fc.oneof(
  { weight: 4, arbitrary: fc.constant('VERIFIED' as const) },
  fc.constantFrom(...states),
);
const instances = fc.uniqueArray(fc.tuple(instance, state), { selector: ([name]) => name, maxLength: 3 });
const AGO = config.attestation.staleSeconds * 1000;

type Told = [platform: State, instances: [string, State][], dueAt: number | undefined];
const told: fc.Arbitrary<Told> = fc.tuple(
  state,
  instances,
  fc.option(fc.integer({ min: T, max: T + AGO + 2 }), { nil: undefined, freq: 8 }),
);

function named<V>(entries: readonly (readonly [string, V])[]): Record<string, V> {
  const all: Record<string, V> = Object.create(null);
  for (const [name, value] of entries) all[name] = value;
  return all;
}

function resultOf(claim: number, platform: State, of: readonly (readonly [string, State])[]): StoredResult {
  const reasons: [] = [];
  return {
    digest: digestOf(utf8('result')),
    claim,
    at: T,
    ear: '',
    record: {
      attester: 'a',
      purpose: 'attest',
      policy: 'p',
      platform: { state: platform, reasons },
      limits: [],
      instances: named(of.map(([name, state]) => [name, { state, reasons }])),
      evidence: digestOf(utf8('evidence')),
    },
  };
}

describe('a result that was told', () => {
  it('has nothing more to be told and nothing to be noted', () => {
    const { store } = fresh;
    const claim = store.claims.insert(claimOf('a', 'ek'), 'admitted', undefined, 'test', T);
    let toldAlready = 0;
    const holds = (standing: Standing, result: StoredResult) => {
      store.standings.set(claim.claim, standing);
      const before = [store.standings.get(claim.claim), store.events.last()];
      const isToldAlready = isTold(standing, config, result);
      const changed = tellChanges(store, config, claim, result);
      if (!isToldAlready) return;
      toldAlready++;
      expect(changed).toBe(false);
      // The very same object: it was not even written anew.
      expect(store.standings.get(claim.claim)).toBe(before[0]);
      expect(store.events.last()).toBe(before[1]);
    };
    fc.assert(
      fc.property(told, state, fc.option(instances), ([was, had, dueAt], platform, other) => {
        const standing = { platform: was, instances: named(had), ...(dueAt === undefined ? {} : { dueAt }) };
        holds(standing, resultOf(claim.claim, platform, other ?? had));
      }),
      { numRuns: 400 },
    );
    expect(toldAlready).toBeGreaterThan(20);
  });

  it.each<[string, Partial<Standing> | undefined, State]>([
    ['of which nothing was told', undefined, 'VERIFIED'],
    ['told in another state', { platform: 'STALE' }, 'VERIFIED'],
    ['of a machine that is not well', { platform: 'DEGRADED' }, 'DEGRADED'],
    ['with an instance that was told in another state', { instances: named([['one', 'STALE']]) }, 'VERIFIED'],
    [
      'with an instance fewer',
      {
        instances: named([
          ['one', 'VERIFIED'],
          ['two', 'VERIFIED'],
        ]),
      },
      'VERIFIED',
    ],
    ['with an instance more', { instances: {} }, 'VERIFIED'],
    ['with another instance', { instances: named([['two', 'VERIFIED']]) }, 'VERIFIED'],
    ['after whose time somebody looks', { dueAt: dueOf(config, T) + 1 }, 'VERIFIED'],
  ])('is not one %s', (_, change, platform) => {
    const result = resultOf(1, platform, [['one', 'VERIFIED']]);
    const standing: Standing = {
      platform: 'VERIFIED',
      instances: named([['one', 'VERIFIED']]),
      dueAt: dueOf(config, T),
    };
    expect(isTold(change === undefined ? undefined : { ...standing, ...change }, config, result)).toBe(false);
    expect(isTold(standing, config, resultOf(1, 'VERIFIED', [['one', 'VERIFIED']]))).toBe(true);
  });
});
