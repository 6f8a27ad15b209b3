import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { concat, toHex } from '@kallio/codec';
import { beforeAll, describe, expect, test } from 'vitest';
import { TAG } from '../src/der.ts';
import { certifiedKey, type EkEndorsement, verifyEkChain } from '../src/index.ts';
import {
  attribute,
  authority,
  EK_USAGE,
  ekCertificate,
  type Made,
  NOW,
  newKeys,
  oid,
  type Parts,
  remade,
  rewriteExtension,
  text,
  tlv,
} from './fixture-maker.ts';

/*
 * What makers have really shipped, made again here byte for byte where it matters: docs/endorsement.md has the list.
 */

let root: Made;
let honest: Made;

beforeAll(async () => {
  root = await authority('Maker Root');
  honest = await ekCertificate(root);
});

function check(certificate: Uint8Array, roots: readonly Made[] = [root]): EkEndorsement {
  return verifyEkChain({ certificate, intermediates: [], roots: roots.map(({ der }) => der), now: NOW });
}

async function changed(change: (parts: Parts) => Partial<Parts>, of: Made = honest): Promise<Uint8Array> {
  return (await remade(of, root, change)).der;
}

const refused = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe('accepted, for nothing rests on the defect', () => {
  test('Nuvoton: a serial number that begins with zeros', async () => {
    const serial = tlv(TAG.integer, new Uint8Array([0, 0, 0, 0x35, 1, 2, 3]));
    const der = await changed(() => ({ serial }));
    expect(toHex(der)).toContain('020700000035010203');
    expect(check(der).spki).toEqual(honest.keys.spki);
    // OpenSSL does not read it.
    expect(() => new X509Certificate(der)).toThrow();
    const key = certifiedKey(der).export({ format: 'der', type: 'spki' });
    expect(new Uint8Array(key)).toEqual(honest.keys.spki);
  });

  test('Nuvoton: names in one RDN whose parts are not sorted', async () => {
    const parts = [
      attribute('2.5.4.3', 'Nuvoton TPM Root CA 0000', TAG.printableString),
      attribute('2.5.4.10', 'Nuvoton Technology Corporation', TAG.printableString),
      attribute('2.5.4.6', 'TW', TAG.printableString),
    ];
    const name = tlv(TAG.sequence, tlv(TAG.set, ...parts));
    const maker = await remade(root, root, () => ({ subject: name, issuer: name }));
    const der = await changed(() => ({ issuer: name }));
    expect(check(der, [maker]).root).toBe(
      'CN=Nuvoton TPM Root CA 0000+O=Nuvoton Technology Corporation+C=TW',
    );
    // Sorted, it is another name: bytes are compared, not what a reader makes of them.
    const sorted = tlv(TAG.sequence, tlv(TAG.set, ...[...parts].reverse()));
    const other = await changed(() => ({ issuer: sorted }));
    expect(() => check(other, [maker])).toThrow(expect.objectContaining({ code: 'PKI_EK_UNTRUSTED' }));
  });

  test('Intel: the defaults cA FALSE and critical FALSE written out', async () => {
    const no = tlv(TAG.boolean, new Uint8Array([0]));
    const value = tlv(TAG.octetString, tlv(TAG.sequence, no));
    const yes = tlv(TAG.boolean, new Uint8Array([0xff]));
    const constraints = tlv(TAG.sequence, oid('2.5.29.19'), yes, value);
    expect(
      check(await changed((p) => ({ extensions: rewriteExtension(p, '2.5.29.19', constraints) }))),
    ).toEqual(check(honest.der));
    const usage = tlv(TAG.octetString, tlv(TAG.sequence, oid(EK_USAGE)));
    const uncritical = tlv(TAG.sequence, oid('2.5.29.37'), no, usage);
    expect(
      check(await changed((p) => ({ extensions: rewriteExtension(p, '2.5.29.37', uncritical) }))),
    ).toEqual(check(honest.der));
  });

  test('GeneralizedTime for years before 2050', async () => {
    const times = [
      text(TAG.generalizedTime, '20200101000000Z'),
      text(TAG.generalizedTime, '20451231235959Z'),
    ];
    expect(check(await changed(() => ({ validity: tlv(TAG.sequence, ...times) }))).root).toBe(
      'CN=Maker Root',
    );
  });

  test('ECDSA with NULL for parameters', async () => {
    const algorithm = tlv(TAG.sequence, oid('1.2.840.10045.4.3.2'), new Uint8Array([5, 0]));
    expect(check(await changed(() => ({ algorithm }))).root).toBe('CN=Maker Root');
  });
});

describe('refused, with a sentence that names the defect', () => {
  test('STMicroelectronics and others: padding of the NV index behind the certificate', () => {
    expect(check(honest.der).root).toBe('CN=Maker Root');
    for (const padding of [0xff, 0x00]) {
      const padded = concat(honest.der, new Uint8Array(1600 - honest.der.length).fill(padding));
      expect(() => check(padded)).toThrow(
        refused('PKI_TRAILING_BYTES', new RegExp(`${1600 - honest.der.length} bytes follow`)),
      );
    }
  });

  test('TPM 1.2: a key marked id-RSAES-OAEP', async () => {
    const rsa = await ekCertificate(root, { keys: await newKeys('rsa2048') });
    expect(check(rsa.der).spki).toEqual(rsa.keys.spki);
    const marked = (spki: Uint8Array) => {
      const hex = toHex(spki).replace('06092a864886f70d010101', '06092a864886f70d010107');
      return new Uint8Array(Buffer.from(hex, 'hex'));
    };
    const der = await changed(({ spki }) => ({ spki: marked(spki) }), rsa);
    expect(() => check(der)).toThrow(refused('PKI_KEY_ALGORITHM', /id-RSAES-OAEP, as .* TPM 1\.2/));
  });

  test('TPM 1.2: no extended key usage', async () => {
    const { der } = await ekCertificate(root, { usages: null });
    expect(() => check(der)).toThrow(
      expect.objectContaining({
        code: 'PKI_EK_USAGE',
        hint: expect.stringMatching(/no extended key usage at all/),
      }),
    );
  });

  test('Infineon until 2013: authorities that sign over SHA-1', async () => {
    const { der } = await ekCertificate(root, { hash: 'SHA-1' });
    expect(() => check(der)).toThrow(refused('PKI_SHA1', /SHA-1/));
  });

  test('other curves and other keys', async () => {
    // An SM2 key has the same outline and another curve: 1.2.156.10197.1.301.
    const { spki } = await newKeys();
    const point = spki.slice(-65);
    const key = (curve: string, octets = point) =>
      tlv(
        TAG.sequence,
        tlv(TAG.sequence, oid('1.2.840.10045.2.1'), oid(curve)),
        tlv(TAG.bitString, new Uint8Array([0]), octets),
      );
    expect(check(await changed(() => ({ spki: key('1.2.840.10045.3.1.7') }))).spki).toEqual(spki);
    const long = (bytes: number) =>
      tlv(
        TAG.sequence,
        tlv(TAG.sequence, oid('1.2.840.113549.1.1.1'), tlv(0x05)),
        tlv(
          TAG.bitString,
          new Uint8Array([0]),
          tlv(
            TAG.sequence,
            tlv(TAG.integer, new Uint8Array([0]), new Uint8Array(bytes).fill(0xff)),
            tlv(TAG.integer, new Uint8Array([1, 0, 1])),
          ),
        ),
      );
    expect(check(await changed(() => ({ spki: long(1024) }))).root).toBe('CN=Maker Root');
    const spkiOf = (key: KeyObject) => new Uint8Array(key.export({ format: 'der', type: 'spki' }));
    for (const other of [
      long(1025),
      spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey),
      spkiOf(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey),
      spkiOf(generateKeyPairSync('ed25519').publicKey),
      key('1.2.156.10197.1.301'),
      // A point that is not on the curve it names.
      key(
        '1.2.840.10045.3.1.7',
        point.map((byte, i) => (i === 64 ? byte ^ 1 : byte)),
      ),
    ]) {
      const der = await changed(() => ({ spki: other }));
      expect(() => check(der)).toThrow(refused('PKI_KEY_ALGORITHM', /neither RSA .* nor on P-256/));
    }
  });

  test('one root of a kind not known here does not shut the others out', async () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
    const strange = await remade(root, root, () => ({ spki }));
    expect(check(honest.der, [strange, root]).root).toBe('CN=Maker Root');
    expect(() => check(honest.der, [strange])).toThrow(
      expect.objectContaining({ code: 'PKI_KEY_ALGORITHM' }),
    );
  });
});
