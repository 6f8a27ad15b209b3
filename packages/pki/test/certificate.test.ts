import { concat, toHex } from '@kallio/codec';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseCertificate } from '../src/certificate.ts';
import { DerReader, oidOf, only, TAG, timeOf } from '../src/der.ts';
import { isPkiError } from '../src/error.ts';
import { parsePemCertificates, verifyEkChain } from '../src/index.ts';
import { x509 } from '../src/x509.ts';
import {
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

const code = (c: string) => expect.objectContaining({ code: c });
const malformed = code('PKI_CERTIFICATE_MALFORMED');
const USAGE = '2.5.29.37';
const usage = tlv(TAG.octetString, tlv(TAG.sequence, oid(EK_USAGE)));

let root: Made;
let honest: Made;

beforeAll(async () => {
  root = await authority('Maker Root');
  honest = await ekCertificate(root);
});

function verify(certificate: Uint8Array, intermediates: readonly Uint8Array[] = []) {
  return verifyEkChain({ certificate, intermediates, roots: [root.der], now: NOW });
}

function outcome(certificate: Uint8Array): unknown {
  try {
    return verify(certificate);
  } catch (error) {
    return error;
  }
}

describe('bytes that are no certificate', () => {
  test('are refused, and the certificate itself is not', () => {
    expect(verify(honest.der).spki).toEqual(honest.keys.spki);
    expect(() => verify(new Uint8Array(0))).toThrow(malformed);
    expect(() => verify(new Uint8Array(64).fill(0x30))).toThrow(malformed);
    expect(() => verify(new TextEncoder().encode('-----BEGIN CERTIFICATE-----'))).toThrow(malformed);
    expect(() => verify(new Uint8Array(9000).fill(0x30))).toThrow(malformed);
    expect(() => verify(only(honest.der, TAG.sequence).value)).toThrow(malformed);
  });

  test('are refused by a code of this package, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(isPkiError(outcome(bytes))).toBe(true);
        expect(isPkiError(outcome(concat(honest.der.slice(0, 4), bytes)))).toBe(true);
      }),
    );
  });

  test('are refused at every length that the certificate could be cut to', () => {
    for (let length = 0; length < honest.der.length; length++) {
      expect(() => verify(honest.der.slice(0, length)), `${length}`).toThrow(malformed);
    }
  });

  test('are refused with any one bit of the certificate other than it was', () => {
    for (let at = 0; at < honest.der.length * 8; at++) {
      const flipped = honest.der.slice();
      flipped[at >> 3] = (flipped[at >> 3] ?? 0) ^ (1 << (at & 7));
      const result = outcome(flipped);
      expect(isPkiError(result), `bit ${at}: ${result}`).toBe(true);
    }
  });

  test('are refused with bytes behind the certificate, and say which certificate it is', () => {
    const longer = concat(honest.der, new Uint8Array(1));
    expect(() => verify(longer)).toThrow(
      expect.objectContaining({ code: 'PKI_TRAILING_BYTES', pointer: 'certificate' }),
    );
    expect(() => verify(honest.der, [root.der, longer])).toThrow(
      expect.objectContaining({ code: 'PKI_TRAILING_BYTES', pointer: 'intermediates/1' }),
    );
    expect(() => verify(concat(honest.der, honest.der))).toThrow(code('PKI_TRAILING_BYTES'));
  });

  test('are refused where a part is missing, doubled, or of another kind', async () => {
    const none = new Uint8Array(0);
    const again = async (change: (parts: Parts) => Partial<Parts>) =>
      (await remade(honest, root, change)).der;
    expect(verify(await again(() => ({}))).root).toBe('CN=Maker Root');
    for (const der of [
      await again(() => ({ serial: none })),
      await again(({ spki }) => ({ spki: concat(spki, spki) })),
      await again(({ validity }) => ({
        validity: tlv(TAG.sequence, only(validity, TAG.sequence).value, text(TAG.utcTime, '260101000000Z')),
      })),
      await again(() => ({ validity: tlv(TAG.sequence, text(TAG.utcTime, '260101000000Z')) })),
      await again(() => ({
        validity: tlv(
          TAG.sequence,
          ...['20200101000000Z', '20400101000000Z'].map((t) => text(TAG.utf8String, t)),
        ),
      })),
      await again(({ extensions }) => ({ extensions: concat(extensions, tlv(0xa4)) })),
      await again(({ extensions }) => ({
        extensions: tlv(0xa3, only(extensions, 0xa3).value, tlv(TAG.sequence)),
      })),
      await again((p) => ({
        extensions: rewriteExtension(p, USAGE, tlv(TAG.sequence, oid(USAGE), usage, usage)),
      })),
      await again((p) => ({
        extensions: rewriteExtension(
          p,
          USAGE,
          tlv(TAG.sequence, oid(USAGE), tlv(TAG.boolean, new Uint8Array([1])), usage),
        ),
      })),
      // An element behind the signature.
      tlv(TAG.sequence, only(honest.der, TAG.sequence).value, tlv(0x05)),
    ]) {
      expect(() => verify(der), toHex(der)).toThrow(malformed);
    }
  });

  test('are refused where what decides has bytes left over', async () => {
    const purpose = tlv(TAG.sequence, oid(EK_USAGE));
    const none = tlv(TAG.sequence);
    for (const [id, good, bad] of [
      [USAGE, purpose, concat(purpose, none)],
      ['2.5.29.19', none, concat(none, none)],
      ['2.5.29.19', none, tlv(TAG.sequence, tlv(TAG.octetString))],
      // Path lengths that are negative, or need two octets.
      ['2.5.29.19', none, tlv(TAG.sequence, tlv(TAG.integer, new Uint8Array([0xff])))],
      ['2.5.29.19', none, tlv(TAG.sequence, tlv(TAG.integer, new Uint8Array([1, 0])))],
    ] as const) {
      const written = (value: Uint8Array) => tlv(TAG.sequence, oid(id), tlv(TAG.octetString, value));
      const leaf = async (value: Uint8Array) => {
        const change = (p: Parts) => ({ extensions: rewriteExtension(p, id, written(value)) });
        return (await remade(honest, root, change)).der;
      };
      expect(verify(await leaf(good)).root).toBe('CN=Maker Root');
      const der = await leaf(bad);
      expect(() => verify(der), toHex(bad)).toThrow(malformed);
    }
  });

  test('are refused when they are longer than any EK certificate', async () => {
    const filled = (length: number) =>
      ekCertificate(root, { more: [new x509.Extension('1.2.3.4', false, new Uint8Array(length))] });
    expect(verify((await filled(7000)).der).root).toBe('CN=Maker Root');
    const { der } = await filled(8000);
    expect(() => verify(der)).toThrow(malformed);
  });
});

describe('the reader of DER', () => {
  const read = (...octets: number[]) => new DerReader(new Uint8Array(octets)).any();

  test('takes one writing of each length', () => {
    expect(read(0x04, 0x01, 0xaa).value).toEqual(new Uint8Array([0xaa]));
    const long = (prefix: number[], length: number) => read(...prefix, ...Array<number>(length).fill(0));
    expect(long([0x04, 0x81, 0x80], 0x80).value).toHaveLength(0x80);
    expect(long([0x04, 0x82, 0x01, 0x00], 0x100).value).toHaveLength(0x100);
    for (const octets of [
      [0x04, 0x81, 0x01, 0xaa],
      [0x04, 0x82, 0x00, 0x01, 0xaa],
      [0x30, 0x80, 0x00, 0x00],
      [0x04, 0x83, 0x00, 0x00, 0x01, 0xaa],
      [0x04, 0x02, 0xaa],
      [0x1f, 0x00],
      [0x04],
    ]) {
      expect(() => read(...octets), `${octets}`).toThrow(malformed);
    }
  });

  test('reads object identifiers', () => {
    for (const dotted of ['2.23.133.8.1', '1.2.840.113549.1.1.11', '0.9.2342', '2.999.3', '1.39.1']) {
      expect(oidOf(only(oid(dotted), TAG.oid))).toBe(dotted);
    }
    for (const octets of [
      [0x06, 0x00],
      [0x06, 0x02, 0x2a, 0x86],
      [0x06, 0x0a, 0x2a, ...Array<number>(8).fill(0xff), 1],
    ]) {
      expect(() => oidOf(read(...octets))).toThrow(malformed);
    }
  });

  test('reads the times that RFC 5280 has, and no others', () => {
    const utc = (value: string) => timeOf(only(text(TAG.utcTime, value), TAG.utcTime)).toISOString();
    const generalized = (value: string) =>
      timeOf(only(text(TAG.generalizedTime, value), TAG.generalizedTime)).toISOString();
    expect(utc('491231235959Z')).toBe('2049-12-31T23:59:59.000Z');
    expect(utc('500101000000Z')).toBe('1950-01-01T00:00:00.000Z');
    expect(generalized('99991231235959Z')).toBe('9999-12-31T23:59:59.000Z');
    expect(generalized('20240229000000Z')).toBe('2024-02-29T00:00:00.000Z');
    for (const value of [
      '4912312359Z',
      '491231235959',
      '491231235959+0100',
      '490231000000Z',
      '491301000000Z',
      '',
    ]) {
      expect(() => utc(value), value).toThrow(malformed);
    }
    for (const value of [
      '20230229000000Z',
      '20260101240000Z',
      '20260101000060Z',
      '20260101000000.5Z',
      '260101000000Z',
    ]) {
      expect(() => generalized(value), value).toThrow(malformed);
    }
  });
});

describe('PEM', () => {
  const pem = ({ der }: Made) =>
    `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;

  test('may hold several certificates, and text between them', async () => {
    const other = await authority('Other');
    expect(parsePemCertificates(`# makers\n${pem(root)}\nand\r\n${pem(other)}`)).toEqual([
      root.der,
      other.der,
    ]);
  });

  test('is refused when a certificate in it is damaged, rather than read without it', async () => {
    const { spki } = await newKeys();
    for (const bad of [
      '',
      `-----BEGIN PUBLIC KEY-----\n${Buffer.from(spki).toString('base64')}\n-----END PUBLIC KEY-----\n`,
      pem(root) + pem(root).replace('-----END', '-----'),
      pem(root) + pem(root).replace('MI', 'M*'),
      pem({ ...root, der: root.der.slice(0, -1) }),
    ]) {
      expect(() => parsePemCertificates(bad), bad).toThrow(malformed);
    }
    expect(() => parsePemCertificates(pem({ ...root, der: concat(root.der, new Uint8Array(3)) }))).toThrow(
      code('PKI_TRAILING_BYTES'),
    );
  });
});

test('names are kept as they stood, so that what is compared is what was signed', () => {
  const { subject, issuer } = parseCertificate(honest.der);
  expect(subject).toBe('3000');
  expect(issuer).toBe(parseCertificate(root.der).subject);
});
