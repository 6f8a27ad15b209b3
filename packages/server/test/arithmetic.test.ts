import { constants, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { utf8 } from '@kallio/codec';
import { afterEach, describe, expect, it } from 'vitest';
import { Arithmetic } from '../src/attestation/arithmetic.ts';

const open: Arithmetic[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

function arithmetic(mostKeys?: number): Arithmetic {
  const one = new Arithmetic(mostKeys);
  open.push(one);
  return one;
}

const ec = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
const message = utf8('what is signed');
const other = utf8('what is not');

describe('arithmetic on another thread', () => {
  it('comes to what node comes to here, whatever the key and however many are asked at one time', async () => {
    const one = arithmetic();
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const [a, b] = [ec(), ec()];
    const byA = await one.sign(a.privateKey, message);
    expect(verify('sha256', message, a.publicKey, byA)).toBe(true);
    const pkcs1 = new Uint8Array(sign('sha384', message, rsa.privateKey));
    const padded = new Uint8Array(sign('sha256', message, { key: rsa.privateKey, ...pss }));
    const asked = await Promise.all([
      one.verify('sha256', message, a.publicKey, byA),
      one.verify('sha256', other, a.publicKey, byA),
      one.verify('sha256', message, b.publicKey, byA),
      one.verify('sha384', message, rsa.publicKey, pkcs1),
      one.verify('sha256', message, rsa.publicKey, pkcs1),
      one.verify('sha256', message, { key: rsa.publicKey, ...pss }, padded),
      one.verify('sha256', message, rsa.publicKey, padded),
    ]);
    expect(asked).toEqual([true, false, false, true, false, true, false]);
  });

  it('asks of the bytes as they were when they were asked of', async () => {
    const one = arithmetic();
    const { privateKey, publicKey } = ec();
    const bytes = message.slice();
    const signing = one.sign(privateKey, bytes);
    bytes.fill(0);
    expect(verify('sha256', message, publicKey, await signing)).toBe(true);
  });

  it('fails for itself alone: the others that were asked with it are answered', async () => {
    const one = arithmetic();
    const { privateKey, publicKey } = ec();
    const signature = new Uint8Array(sign('sha256', message, privateKey));
    const [bad, good] = await Promise.allSettled([
      // A public key signs nothing.
      one.sign(publicKey, message),
      one.verify('sha256', message, publicKey, signature),
    ]);
    expect(bad.status).toBe('rejected');
    expect(good).toEqual({ status: 'fulfilled', value: true });
  });

  it('refuses what was asked of a thread that ended, and goes on with another', async () => {
    const one = arithmetic();
    const { privateKey, publicKey } = ec();
    await one.sign(privateKey, message);
    // No key that could go there: it takes the thread with it.
    const odd = (() => undefined) as unknown as KeyObject;
    const pending = await Promise.allSettled([one.sign(privateKey, message), one.sign(odd, message)]);
    expect(pending.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(verify('sha256', message, publicKey, await one.sign(privateKey, message))).toBe(true);
  });

  it('refuses everything once it is closed', async () => {
    const one = arithmetic();
    const { privateKey, publicKey } = ec();
    expect(verify('sha256', message, publicKey, await one.sign(privateKey, message))).toBe(true);
    const pending = expect(one.sign(privateKey, message)).rejects.toThrow('ended');
    await one.close();
    await pending;
    await expect(one.sign(privateKey, message)).rejects.toThrow('ended');
  });

  it('forgets keys in time, and knows each again that comes back', async () => {
    const one = arithmetic(3);
    const keys = Array.from({ length: 5 }, ec);
    const signs = async ({ privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject }) =>
      verify('sha256', message, publicKey, await one.sign(privateKey, message));
    for (let round = 0; round < 3; round++) {
      for (const pair of keys) expect(await signs(pair)).toBe(true);
      expect(await Promise.all(keys.map(signs))).toEqual(keys.map(() => true));
    }
  });
});
