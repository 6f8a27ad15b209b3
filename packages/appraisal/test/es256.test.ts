import { generateKeyPairSync, verify } from 'node:crypto';
import { concat, utf8 } from '@kallio/codec';
import { expect, it } from 'vitest';
import { signEs256, verifyEs256 } from '../src/ear/es256.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

it('signs as JWS writes it, also where r or s begin with zeros', () => {
  const short = new Set<number>();
  // One in 256 numbers begins with a zero byte: 3,000 signatures without one in r and one in s don't happen.
  for (let i = 0; i < 3000; i++) {
    const bytes = utf8(`message ${i}`);
    const signature = signEs256(privateKey, bytes);
    expect(signature.length).toBe(64);
    if (signature[0] === 0) short.add(0);
    if (signature[32] === 0) short.add(32);
    const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
    if (!verify('sha256', bytes, key, signature)) expect.fail(`the signature of message ${i} does not hold`);
    if (!verifyEs256(publicKey, bytes, signature)) expect.fail(`that of message ${i} is not read`);
    if (i === 0) expect(verify('sha256', utf8('another'), key, signature)).toBe(false);
  }
  expect([...short].sort()).toEqual([0, 32]);
});

it('refuses a key of another curve', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  expect(() => signEs256(other.privateKey, utf8('message'))).toThrow(/P-256/);
  expect(signEs256(privateKey, utf8('message')).length).toBe(64);
});

it('takes what Node takes in this form, and nothing else', () => {
  const bytes = utf8('message');
  const good = signEs256(privateKey, bytes);
  expect(verifyEs256(publicKey, bytes, good)).toBe(true);
  const changed = (from: number, ...to: readonly number[]) => {
    const bad = good.slice();
    bad.set(to, from);
    return bad;
  };
  const zeros = Array.from({ length: 32 }, () => 0);
  const ones = zeros.map(() => 0xff);
  const [r = 0] = good;
  for (const bad of [
    changed(0, r ^ 1),
    changed(63, (good[63] ?? 0) ^ 1),
    changed(0, ...zeros),
    changed(32, ...zeros),
    changed(0, ...zeros, ...zeros),
    changed(0, ...ones),
    changed(32, ...ones),
    good.subarray(0, 63),
    concat(good, Uint8Array.of(0)),
  ]) {
    expect(verifyEs256(publicKey, bytes, bad)).toBe(false);
    const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
    expect(verify('sha256', bytes, key, bad)).toBe(false);
  }
});
