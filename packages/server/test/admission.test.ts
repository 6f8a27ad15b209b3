import { describe, expect, it } from 'vitest';
import { admit, decide } from '../src/enrolment/admission.ts';
import { hashToken } from '../src/secrets.ts';
import { defaultConfig } from '../src/setup/config.ts';
import type { ProvenClaim } from '../src/store/claims.ts';
import { claimOf, freshStore, T } from './fixture-store.ts';

const fresh = freshStore();
const token = hashToken('join');

const config = defaultConfig({
  listen: '127.0.0.1:0',
  names: ['localhost'],
  trustDomain: 'test',
  issuer: 'test',
  log: { name: 'log.test' },
});

function join(proven: ProvenClaim, joinToken: Uint8Array | undefined = token) {
  return fresh.store.transaction(() => admit(fresh.store, config, { proven, joinToken }, T));
}

function makeToken(uses: number): void {
  fresh.store.joinTokens.insert(token, { uses, expiresAt: T + 1000 }, 'test');
}

describe('admission', () => {
  it('is by join token, else waits for the operator', () => {
    makeToken(1);
    expect(join(claimOf('a', 'ek1')).state).toBe('admitted');
    expect(join(claimOf('b', 'ek2'))).toMatchObject({ state: 'pending', reason: { code: 'ENROL_PENDING' } });
  });

  it('is by the EK allow-list, under the name that it gives', () => {
    const listed = {
      ...config,
      enrolment: { ...config.enrolment, ekAllowList: [{ ek: 'ek1', attester: 'a' }] },
    };
    const join = (attester: string) =>
      fresh.store.transaction(() =>
        admit(fresh.store, listed, { proven: claimOf(attester, 'ek1'), joinToken: undefined }, T),
      );
    expect(join('b').state).toBe('pending');
    expect(join('a').state).toBe('admitted');
  });

  it('holds a second TPM that claims a name, and leaves the first as it was', () => {
    makeToken(2);
    join(claimOf('a', 'ek1'));
    expect(join(claimOf('a', 'ek2'))).toMatchObject({
      state: 'held',
      reason: { code: 'ENROL_ATTESTER_TAKEN' },
    });
    expect(fresh.store.claims.admittedAs('a')?.ek).toBe('ek1');
    // The token was not spent on a claim that it did not admit.
    expect(join(claimOf('b', 'ek3')).state).toBe('admitted');
  });

  it('holds a second name that one TPM claims, and leaves the first as it was', () => {
    makeToken(2);
    join(claimOf('a', 'ek1'));
    expect(join(claimOf('b', 'ek1'))).toMatchObject({ state: 'held', reason: { code: 'ENROL_TPM_TAKEN' } });
    expect(fresh.store.claims.admittedTpm('ek1')?.attester).toBe('a');
  });

  it('holds a claim whose AK is admitted with another EK: one TPM has both', () => {
    makeToken(2);
    join(claimOf('a', 'ek1', 'ak1'));
    expect(join(claimOf('b', 'ek2', 'ak1'))).toMatchObject({
      state: 'held',
      reason: { code: 'ENROL_TPM_TAKEN' },
    });
    expect(join(claimOf('b', 'ek2', 'ak2')).state).toBe('admitted');
  });

  it('admits the same TPM with a new AK again, keeping the history', () => {
    makeToken(2);
    const first = join(claimOf('a', 'ek1', 'ak1'));
    expect(join(claimOf('a', 'ek1', 'ak2'))).toMatchObject({ state: 'admitted', ak: 'ak2' });
    expect(fresh.store.claims.byNumber(first.claim)).toMatchObject({ state: 'superseded' });
  });

  it('does not admit a new AK without token or operator; the old one keeps working', () => {
    makeToken(1);
    join(claimOf('a', 'ek1', 'ak1'));
    expect(join(claimOf('a', 'ek1', 'ak2')).state).toBe('pending');
    expect(fresh.store.claims.admittedAs('a')?.ak).toBe('ak1');
  });

  it('needs nothing for a claim that is admitted as it is', () => {
    makeToken(1);
    const first = join(claimOf('a', 'ek1'));
    expect(join(claimOf('a', 'ek1'), undefined)).toEqual(first);
  });

  it('bounds how many claims of one TPM wait, and a repeated claim is one', () => {
    for (let i = 0; i < config.enrolment.maxWaitingPerTpm; i++) join(claimOf(`n${i}`, 'ek1'), undefined);
    expect(join(claimOf('n0', 'ek1'), undefined).state).toBe('pending');
    expect(() => join(claimOf('more', 'ek1'), undefined)).toThrow(
      expect.objectContaining({ code: 'ENROL_TOO_MANY_CLAIMS' }),
    );
    expect(join(claimOf('other', 'ek2'), undefined).state).toBe('pending');
  });
});

it('bounds how many claims one TPM makes in a day by changing its AK', () => {
  const { maxClaimsPerTpmAndDay } = config.enrolment;
  for (let i = 0; i < maxClaimsPerTpmAndDay; i++) join(claimOf('a', 'ek1', `ak${i}`), undefined);
  expect(() => join(claimOf('a', 'ek1', 'one more'), undefined)).toThrow(
    expect.objectContaining({ code: 'ENROL_TOO_MANY_CLAIMS' }),
  );
  makeToken(1);
  expect(join(claimOf('a', 'ek1', 'one more')).state).toBe('admitted');
});

describe('the operator', () => {
  const say = (attester: string, ek: string, decision: 'admit' | 'refuse') =>
    decide(fresh.store, attester, ek, decision, 'token:op', T);

  it('admits a claim that waits', () => {
    join(claimOf('a', 'ek1'), undefined);
    expect(say('a', 'ek1', 'admit').state).toBe('admitted');
    expect(fresh.store.claims.admittedAs('a')?.reason).toBeUndefined();
  });

  it('replaces a TPM by admitting the one that is held', () => {
    makeToken(1);
    join(claimOf('a', 'ek1'));
    join(claimOf('a', 'ek2'), undefined);
    say('a', 'ek2', 'admit');
    expect(fresh.store.claims.admittedAs('a')?.ek).toBe('ek2');
    expect(fresh.store.claims.newest('a', 'ek1')?.state).toBe('superseded');
  });

  it('renames a TPM by admitting its second claim', () => {
    makeToken(1);
    join(claimOf('a', 'ek1'));
    join(claimOf('b', 'ek1'), undefined);
    say('b', 'ek1', 'admit');
    expect(fresh.store.claims.admittedAs('a')).toBeUndefined();
    expect(fresh.store.claims.admittedAs('b')?.ek).toBe('ek1');
  });

  it('puts an attester out, and a token does not bring it back in', () => {
    makeToken(2);
    join(claimOf('a', 'ek1'));
    say('a', 'ek1', 'refuse');
    expect(fresh.store.claims.admittedAs('a')).toBeUndefined();
    expect(join(claimOf('a', 'ek1'))).toMatchObject({ state: 'held', reason: { code: 'ENROL_EK_REFUSED' } });
    expect(say('a', 'ek1', 'admit').state).toBe('admitted');
  });

  it('decides on the TPM that was shown, not on whoever has the name', () => {
    join(claimOf('a', 'ek1'), undefined);
    expect(() => say('a', 'ek2', 'admit')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    expect(say('a', 'ek1', 'admit').state).toBe('admitted');
    expect(() => say('a', 'ek1', 'admit')).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
  });
});
