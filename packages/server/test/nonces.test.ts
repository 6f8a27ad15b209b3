import { createHmac, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Mac } from '../src/attestation/mac.ts';
import { Nonces, type NonceTerms } from '../src/attestation/nonces.ts';
import { Turns } from '../src/attestation/turns.ts';
import { freshStore, T } from './fixture-store.ts';

const fresh = freshStore();
const now = new Date(T);
const terms = { attester: 'a', purpose: 'session-open', session: 'session-1' } as const;
const code = (c: string) => expect.objectContaining({ code: c });
const spend = (nonces: Nonces, nonce: string, on: NonceTerms = terms, at = now) =>
  nonces.spend(nonces.recognise(nonce, on, at));

describe('a nonce', () => {
  it('is spent once', () => {
    const nonces = new Nonces(fresh.store, 60);
    const { nonce } = nonces.issue(terms, now);
    spend(nonces, nonce);
    expect(() => spend(nonces, nonce)).toThrow(code('NONCE_SPENT'));
  });

  it.each([
    ['another attester', { ...terms, attester: 'b' }],
    ['another purpose', { ...terms, purpose: 'session-close' }],
    ['another session', { ...terms, session: 'session-2' }],
    ['no session', { attester: 'a', purpose: 'session-open' }],
  ] as const)('is of no use for %s', (_, other) => {
    const nonces = new Nonces(fresh.store, 60);
    const { nonce } = nonces.issue(terms, now);
    expect(() => spend(nonces, nonce, other)).toThrow(code('NONCE_UNKNOWN'));
    spend(nonces, nonce);
  });

  it('is never the same twice, in one moment and on the same terms', () => {
    const nonces = new Nonces(fresh.store, 60);
    const many = Array.from({ length: 2000 }, () => nonces.issue(terms, now).nonce);
    expect(new Set(many).size).toBe(many.length);
  });

  it('ends with its time', () => {
    const nonces = new Nonces(fresh.store, 60);
    const { nonce, expiresAt } = nonces.issue(terms, now);
    expect(() => spend(nonces, nonce, terms, new Date(expiresAt))).toThrow(code('NONCE_EXPIRED'));
    spend(nonces, nonce, terms, new Date(expiresAt - 1));
  });

  it('can’t be made up', () => {
    const nonces = new Nonces(fresh.store, 60);
    const { nonce } = nonces.issue(terms, now);
    const altered = `${nonce.slice(0, -1)}${nonce.endsWith('0') ? '1' : '0'}`;
    expect(() => spend(nonces, altered)).toThrow(code('NONCE_UNKNOWN'));
    expect(() => spend(nonces, '00'.repeat(32))).toThrow(code('NONCE_UNKNOWN'));
  });

  it.each([
    ['was issued a moment ago', 0],
    ['was issued so long ago that only its MAC tells', 16_384],
  ])('that %s is good on its very terms only, however often it is tried', (_, since) => {
    const nonces = new Nonces(fresh.store, 60);
    const others: NonceTerms[] = [
      { ...terms, attester: 'b' },
      { ...terms, purpose: 'session-close' },
      { ...terms, session: 'session-2' },
      { attester: 'a', purpose: 'session-open' },
    ];
    const issued = others.map((other) => ({ other, nonce: nonces.issue(terms, now).nonce }));
    const late = nonces.issue(terms, now);
    for (let i = 0; i < since; i++) nonces.issue({ attester: 'c', purpose: 'attest' }, now);
    for (const { other, nonce } of issued) {
      // What is tried first takes it from those that are known without their MAC.
      for (let time = 0; time < 2; time++) {
        expect(() => nonces.recognise(nonce, other, now)).toThrow(code('NONCE_UNKNOWN'));
      }
      expect(nonces.recognise(nonce, terms, now)).toEqual(nonces.recognise(nonce, terms, now));
      spend(nonces, nonce);
      expect(() => spend(nonces, nonce)).toThrow(code('NONCE_SPENT'));
    }
    const over = new Date(late.expiresAt);
    for (let time = 0; time < 2; time++) {
      expect(() => nonces.recognise(late.nonce, terms, over)).toThrow(code('NONCE_EXPIRED'));
    }
    expect(nonces.recognise(late.nonce, terms, now).expiresAt).toBe(late.expiresAt);
  });

  it('outlives a restart of the server, spent or not', () => {
    const before = new Nonces(fresh.store, 60);
    const [spent, unspent] = [before.issue(terms, now).nonce, before.issue(terms, now).nonce];
    spend(before, spent);
    fresh.reopen();
    const after = new Nonces(fresh.store, 60);
    expect(() => spend(after, spent)).toThrow(code('NONCE_SPENT'));
    spend(after, unspent);
  });
});

it('is made with HMAC-SHA256', () => {
  const key = new Uint8Array(randomBytes(32));
  const mac = new Mac(key);
  for (const length of [0, 1, 55, 56, 63, 64, 65, 1000]) {
    const message = new Uint8Array(randomBytes(length));
    expect(Buffer.from(mac.over(message))).toEqual(createHmac('sha256', key).update(message).digest());
  }
});

describe('turns', () => {
  it('are taken one after another by one attester, and side by side by two', async () => {
    const turns = new Turns();
    const steps: string[] = [];
    const work = (name: string) => async () => {
      steps.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      steps.push(`${name} ends`);
    };
    await Promise.all([
      turns.take('a', work('a1')),
      turns.take('a', work('a2')),
      turns.take('b', work('b1')),
    ]);
    expect(steps.indexOf('a2 begins')).toBeGreaterThan(steps.indexOf('a1 ends'));
    expect(steps.indexOf('b1 begins')).toBeLessThan(steps.indexOf('a1 ends'));
  });

  it('go on after one that failed', async () => {
    const turns = new Turns();
    const failing = turns.take('a', () => Promise.reject(new Error('no')));
    const next = turns.take('a', () => Promise.resolve('yes'));
    await expect(failing).rejects.toThrow('no');
    await expect(next).resolves.toBe('yes');
  });
});
