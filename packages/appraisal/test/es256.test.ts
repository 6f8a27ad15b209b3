import { generateKeyPairSync, verify } from 'node:crypto';
import { utf8 } from '@kallio/codec';
import { expect, it } from 'vitest';
import { signEs256 } from '../src/ear/es256.ts';

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
    if (i === 0) expect(verify('sha256', utf8('another'), key, signature)).toBe(false);
  }
  expect([...short].sort()).toEqual([0, 32]);
});

it('refuses a key of another curve', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  expect(() => signEs256(other.privateKey, utf8('message'))).toThrow(/P-256/);
  expect(signEs256(privateKey, utf8('message')).length).toBe(64);
});
