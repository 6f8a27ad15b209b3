import { sign as cryptoSign, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { concat, fromBase64Url, Reader, toHex } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { akTemplate, ekTemplate, signingKeyTemplate } from '../src/index.ts';
import {
  checkAk,
  checkEk,
  checkSigningKey,
  type EccPublic,
  ecdsaDer,
  makeCredential,
  nameOf,
  type ObjectAttributes,
  parseAttest,
  parsePublic,
  parseSignature,
  publicKeyOf,
  type RsaPublic,
  readSized,
  type TpmtSignature,
  verifySignature,
} from '../src/structures/index.ts';
import { codeOf } from './support/refusal.ts';

const MESSAGE = new Uint8Array([1, 2, 3]);

function eccKey(curve: 'P-256' | 'P-384'): { key: EccPublic; privateKey: KeyObject } {
  const pair = generateKeyPairSync('ec', { namedCurve: curve });
  const jwk = pair.publicKey.export({ format: 'jwk' });
  const hash = curve === 'P-256' ? 'sha256' : 'sha384';
  const x = fromBase64Url(jwk.x ?? '');
  const y = fromBase64Url(jwk.y ?? '');
  const key: EccPublic = { ...akTemplate(), scheme: { scheme: 'ecdsa', hash }, curve, x, y };
  return { key, privateKey: pair.privateKey };
}

function rsaKey(scheme: 'rsassa' | 'rsapss', bits = 2048): { key: RsaPublic; privateKey: KeyObject } {
  const pair = generateKeyPairSync('rsa', { modulusLength: bits });
  const modulus = fromBase64Url(pair.publicKey.export({ format: 'jwk' }).n ?? '');
  const { nameAlg, attributes, authPolicy } = akTemplate();
  const common = { nameAlg, attributes, authPolicy, symmetric: 'null', exponent: 0 } as const;
  return {
    key: { type: 'rsa', ...common, scheme: { scheme, hash: 'sha256' }, keyBits: bits, modulus },
    privateKey: pair.privateKey,
  };
}

/** r and s of an ECDSA signature over the message. */
function ecdsa(privateKey: KeyObject, hash: 'sha256' | 'sha384'): TpmtSignature {
  const both = new Uint8Array(cryptoSign(hash, MESSAGE, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
  const half = both.length / 2;
  return { scheme: 'ecdsa', hash, r: both.slice(0, half), s: both.slice(half) };
}

function rsa(privateKey: KeyObject, scheme: 'rsassa' | 'rsapss'): TpmtSignature {
  const padding = scheme === 'rsassa' ? 1 : 6;
  const signature = new Uint8Array(cryptoSign('sha256', MESSAGE, { key: privateKey, padding }));
  return { scheme, hash: 'sha256', signature };
}

describe('a signature', () => {
  const p256 = eccKey('P-256');
  const p384 = eccKey('P-384');
  const ssa = rsaKey('rsassa');
  const pss = rsaKey('rsapss');
  const good: readonly (readonly [string, EccPublic | RsaPublic, TpmtSignature])[] = [
    ['ECDSA P-256', p256.key, ecdsa(p256.privateKey, 'sha256')],
    ['ECDSA P-384', p384.key, ecdsa(p384.privateKey, 'sha384')],
    ['RSASSA', ssa.key, rsa(ssa.privateKey, 'rsassa')],
    ['RSAPSS', pss.key, rsa(pss.privateKey, 'rsapss')],
  ];
  for (const [name, key, signature] of good) {
    it(`of ${name} is believed over its message and no other`, async () => {
      verifySignature(key, MESSAGE, signature);
      const other = () => verifySignature(key, concat(MESSAGE, MESSAGE), signature);
      expect(await codeOf(other)).toBe('TPM_SIGNATURE_INVALID');
    });
  }

  it('over SHA-1 is refused', async () => {
    const weak = { ...ecdsa(p256.privateKey, 'sha256'), hash: 'sha1' } as const;
    expect(await codeOf(() => verifySignature(p256.key, MESSAGE, weak))).toBe('TPM_SHA1');
  });

  it('of another scheme than the key names is refused, though it is the key’s own', async () => {
    const other = rsa(ssa.privateKey, 'rsapss');
    verifySignature({ ...ssa.key, scheme: { scheme: 'null' } }, MESSAGE, other);
    expect(await codeOf(() => verifySignature(ssa.key, MESSAGE, other))).toBe('TPM_SIGNATURE_SCHEME');
  });

  it('of another kind than the key is refused', async () => {
    const free: EccPublic = { ...p256.key, scheme: { scheme: 'null' } };
    const other = rsa(ssa.privateKey, 'rsassa');
    expect(await codeOf(() => verifySignature(free, MESSAGE, other))).toBe('TPM_SIGNATURE_SCHEME');
  });

  it('of ECDSA keeps its leading zeros out of its DER', () => {
    const der = ecdsaDer({
      scheme: 'ecdsa',
      hash: 'sha256',
      r: Uint8Array.of(0, 0x80),
      s: Uint8Array.of(0, 1),
    });
    expect(der).toEqual(Uint8Array.of(0x30, 7, 2, 2, 0, 0x80, 2, 1, 1));
  });

  it('of ECDSA is written as DER whatever its numbers are', () => {
    const number = fc.uint8Array({ minLength: 1, maxLength: 66 }).filter((bytes) => bytes.some(Boolean));
    fc.assert(
      fc.property(number, number, (r, s) => {
        const body = integer(r) + integer(s);
        const der = `30${length(body)}${body}`;
        expect(toHex(ecdsaDer({ scheme: 'ecdsa', hash: 'sha256', r, s }))).toBe(der);
      }),
    );
  });
});

/** A DER INTEGER of an unsigned number (X.690 sections 8.1.3 and 8.3), hexadecimal. */
function integer(bytes: Uint8Array): string {
  const digits = BigInt(`0x${toHex(bytes)}`).toString(16);
  const whole = digits.length % 2 === 0 ? digits : `0${digits}`;
  const positive = Number.parseInt(whole.slice(0, 2), 16) < 0x80 ? whole : `00${whole}`;
  return `02${length(positive)}${positive}`;
}

function length(hex: string): string {
  const bytes = (hex.length / 2).toString(16).padStart(2, '0');
  return hex.length / 2 < 0x80 ? bytes : `81${bytes}`;
}

describe('a key that is too weak or unknown', () => {
  it('is refused: RSA-1024', async () => {
    expect(await codeOf(() => publicKeyOf(rsaKey('rsassa').key))).toBeUndefined();
    expect(await codeOf(() => publicKeyOf(rsaKey('rsassa', 1024).key))).toBe('TPM_KEY_SIZE');
  });

  it('is refused: an RSA exponent of 3', async () => {
    expect(await codeOf(() => publicKeyOf({ ...rsaKey('rsassa').key, exponent: 3 }))).toBe('TPM_KEY_SIZE');
  });

  it('is refused: another curve', async () => {
    const { key } = eccKey('P-256');
    for (const curve of ['P-521', 'unknown-16'] as const) {
      expect(await codeOf(() => publicKeyOf({ ...key, curve }))).toBe('TPM_KEY_CURVE');
    }
  });

  it('is refused: a point off its curve', async () => {
    const { key } = eccKey('P-256');
    expect(await codeOf(() => publicKeyOf({ ...key, y: key.x }))).toBe('TPM_KEY_POINT');
  });
});

describe('the properties of a key', () => {
  const { key: ak } = eccKey('P-256');
  const signer: EccPublic = { ...ak, attributes: signingKeyTemplate().attributes };
  const ek: EccPublic = {
    ...ekTemplate('ecc-p256'),
    type: 'ecc',
    curve: 'P-256',
    scheme: { scheme: 'null' },
    x: ak.x,
    y: ak.y,
  };
  const kinds: readonly (readonly [string, EccPublic, (key: EccPublic) => void])[] = [
    ['an AK', ak, checkAk],
    ['an EK', ek, checkEk],
    ['an image-signing key', signer, checkSigningKey],
  ];
  const codes: readonly (readonly [keyof ObjectAttributes, string])[] = [
    ['restricted', 'TPM_KEY_RESTRICTION'],
    ['sign', 'TPM_KEY_USE'],
    ['decrypt', 'TPM_KEY_USE'],
    ['fixedTPM', 'TPM_KEY_FIXED_TPM'],
    ['fixedParent', 'TPM_KEY_FIXED_PARENT'],
    ['sensitiveDataOrigin', 'TPM_KEY_ORIGIN'],
  ];
  for (const [what, key, check] of kinds) {
    it(`of ${what} are demanded one by one`, async () => {
      expect(await codeOf(() => check(key))).toBeUndefined();
      for (const [flag, code] of codes) {
        const attributes = { ...key.attributes, [flag]: !key.attributes[flag] };
        expect(await codeOf(() => check({ ...key, attributes })), flag).toBe(code);
      }
      expect(await codeOf(() => check({ ...key, nameAlg: 'sha1' }))).toBe('TPM_SHA1');
    });
  }

  it('of a signer include a scheme with a hash that holds', async () => {
    expect(await codeOf(() => checkAk({ ...ak, scheme: { scheme: 'null' } }))).toBe('TPM_SIGNATURE_SCHEME');
    expect(await codeOf(() => checkAk({ ...ak, scheme: { scheme: 'ecdsa', hash: 'sha1' } }))).toBe(
      'TPM_SHA1',
    );
  });
});

describe('a credential', () => {
  it('is made for no key that cannot open one, and for no secret that does not fit', async () => {
    const { key } = eccKey('P-256');
    const ek: EccPublic = { ...key, symmetric: { bits: 128 } };
    const name = nameOf(key);
    expect(await codeOf(() => makeCredential(ek, name, new Uint8Array(32)))).toBeUndefined();
    expect(await codeOf(() => makeCredential(ek, name, new Uint8Array(33)))).toBe('TPM_CREDENTIAL');
    expect(await codeOf(() => makeCredential(key, name, new Uint8Array(32)))).toBe('TPM_CREDENTIAL');
  });
});

const captured = fileURLToPath(new URL('../../../../shared/evidence/debian12-qemu', import.meta.url));
describe.skipIf(!existsSync(captured))(
  'quotes captured on a real boot (../shared/evidence/debian12-qemu)',
  () => {
    const file = (name: string) => new Uint8Array(readFileSync(join(captured, name)));
    // tpm2-tools write a TPM2B_PUBLIC.
    const reader = new Reader(existsSync(captured) ? file('ak.pub') : Uint8Array.of(0, 0));
    const area = readSized(reader, 1024, 'The public area');
    for (const quote of existsSync(captured)
      ? readdirSync(captured).filter((name) => /^q\d\.msg$/.test(name))
      : []) {
      it(`are believed: ${quote}`, async () => {
        const ak = parsePublic(area);
        const message = file(quote);
        const signature = parseSignature(file(quote.replace('.msg', '.sig')));
        verifySignature(ak, message, signature);
        expect(parseAttest(message).type).toBe('quote');
        expect(nameOf(ak)).toEqual(file('ak.name'));
        const changed = message.slice();
        changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
        expect(await codeOf(() => verifySignature(ak, changed, signature))).toBe('TPM_SIGNATURE_INVALID');
      });
    }
  },
);
