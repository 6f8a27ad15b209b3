import { concat, KallioError, Reader, Writer } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeAttributes,
  ecdsaDer,
  encodeAttributes,
  type HashName,
  hashId,
  marshalContext,
  marshalNvPublic,
  marshalPublic,
  marshalSignature,
  nameOf,
  type ObjectAttributes,
  type PcrSelection,
  parseAttest,
  parseContext,
  parseNvPublic,
  parsePublic,
  parseSignature,
  readPcrSelections,
  type SigningScheme,
  type SymmetricDefinition,
  type TpmtPublic,
  writePcrSelections,
  writeSized,
} from '../src/structures/index.ts';

const hash = fc.constantFrom<HashName>('sha1', 'sha256', 'sha384', 'sha512');
const bytes = (max: number) => fc.uint8Array({ maxLength: max });
const flag = fc.boolean();
const attributes: fc.Arbitrary<ObjectAttributes> = fc.record({
  fixedTPM: flag,
  stClear: flag,
  fixedParent: flag,
  sensitiveDataOrigin: flag,
  userWithAuth: flag,
  adminWithPolicy: flag,
  noDA: flag,
  encryptedDuplication: flag,
  restricted: flag,
  decrypt: flag,
  sign: flag,
});
const symmetric = fc.constantFrom<SymmetricDefinition>('null', { bits: 128 }, { bits: 192 }, { bits: 256 });
const none = fc.constant<SigningScheme>({ scheme: 'null' });
const rsaScheme = fc.oneof(
  none,
  fc.record({ scheme: fc.constantFrom('rsassa' as const, 'rsapss' as const, 'oaep' as const), hash }),
);
const eccScheme = fc.oneof(
  none,
  fc.record({ scheme: fc.constantFrom('ecdsa' as const, 'ecdh' as const), hash }),
);
const hashScheme = fc.oneof(none, fc.record({ scheme: fc.constant('hmac' as const), hash }));
const common = { nameAlg: hash, attributes, authPolicy: bytes(64) };

const publicArea: fc.Arbitrary<TpmtPublic> = fc.oneof(
  fc.record({
    type: fc.constant('rsa' as const),
    ...common,
    symmetric,
    scheme: rsaScheme,
    keyBits: fc.integer({ min: 0, max: 0xffff }),
    exponent: fc.integer({ min: 0, max: 0xffff_ffff }),
    modulus: bytes(512),
  }),
  fc.record({
    type: fc.constant('ecc' as const),
    ...common,
    symmetric,
    scheme: eccScheme,
    curve: fc.constantFrom('P-256' as const, 'P-384' as const, 'P-521' as const, 'unknown-16' as const),
    x: bytes(66),
    y: bytes(66),
  }),
  fc.record({ type: fc.constant('keyedhash' as const), ...common, scheme: hashScheme, unique: bytes(64) }),
);

const common32 = { min: 0, max: 0xffff_ffff };
const context = fc.record({
  sequence: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  savedHandle: fc.integer(common32),
  hierarchy: fc.integer(common32),
  blob: bytes(1024),
});
const nvPublic = fc.record({
  index: fc.integer(common32),
  nameAlg: hash,
  attributes: fc.integer(common32),
  authPolicy: bytes(64),
  dataSize: fc.integer({ min: 0, max: 0xffff }),
});

const pcrs = fc.uniqueArray(fc.integer({ min: 0, max: 23 })).map((list) => list.sort((a, b) => a - b));
const selections: fc.Arbitrary<PcrSelection[]> = fc.array(fc.record({ bank: hash, pcrs }), { maxLength: 16 });

const attestFields = fc.record({
  signer: bytes(66),
  extra: bytes(64),
  clock: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  resets: fc.integer({ min: 0, max: 0xffff_ffff }),
  restarts: fc.integer({ min: 0, max: 0xffff_ffff }),
  safe: flag,
  firmware: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  select: selections,
  digest: bytes(64),
});
type AttestFields = typeof attestFields extends fc.Arbitrary<infer T> ? T : never;

function quoteBytes(fields: AttestFields): Uint8Array {
  const writer = new Writer().u32(0xff54_4347).u16(0x8018);
  writeSized(writer, fields.signer);
  writeSized(writer, fields.extra);
  writer.u64(fields.clock).u32(fields.resets).u32(fields.restarts).u8(Number(fields.safe));
  writePcrSelections(writer.u64(fields.firmware), fields.select);
  return writeSized(writer, fields.digest).finish();
}

const certificationFields = fc.record({
  type: fc.constantFrom(0x8017 as const, 0x801a as const, 0x8014 as const),
  first: bytes(66),
  second: bytes(64),
});

/** TPMS_ATTEST of Certify, CertifyCreation and NV_Certify. */
function certificationBytes(fields: typeof certificationFields extends fc.Arbitrary<infer T> ? T : never) {
  const writer = new Writer().u32(0xff54_4347).u16(fields.type).u16(0).u16(0);
  writer.u64(1n).u32(2).u32(3).u8(1).u64(4n);
  writeSized(writer, fields.first);
  if (fields.type === 0x8014) writer.u16(0);
  return writeSized(writer, fields.second).finish();
}

function signatureBytes(input: { scheme: 0x14 | 0x16 | 0x18; hash: HashName; a: Uint8Array; b: Uint8Array }) {
  const writer = writeSized(new Writer().u16(input.scheme).u16(hashId(input.hash)), input.a);
  return (input.scheme === 0x18 ? writeSized(writer, input.b) : writer).finish();
}
const signature = fc.record({
  scheme: fc.constantFrom(0x14 as const, 0x16 as const, 0x18 as const),
  hash,
  a: bytes(66),
  b: bytes(66),
});

/** Every structure, as bytes, beside the parser that must take exactly those. */
const marshalled: readonly (readonly [string, fc.Arbitrary<Uint8Array>, (bytes: Uint8Array) => unknown])[] = [
  ['TPMT_PUBLIC', publicArea.map(marshalPublic), parsePublic],
  ['TPMS_ATTEST', attestFields.map(quoteBytes), parseAttest],
  ['TPMS_ATTEST of a key', certificationFields.map(certificationBytes), parseAttest],
  ['TPMT_SIGNATURE', signature.map(signatureBytes), parseSignature],
  ['TPMS_CONTEXT', context.map(marshalContext), parseContext],
  ['TPMS_NV_PUBLIC', nvPublic.map(marshalNvPublic), parseNvPublic],
];

/** Structures that are written again as well: whose parser and writer must agree on every byte. */
const rewritten: readonly (readonly [string, fc.Arbitrary<Uint8Array>, (bytes: Uint8Array) => Uint8Array])[] =
  [
    ['TPMT_PUBLIC', publicArea.map(marshalPublic), (area) => marshalPublic(parsePublic(area))],
    ['TPMT_SIGNATURE', signature.map(signatureBytes), (given) => marshalSignature(parseSignature(given))],
    ['TPMS_CONTEXT', context.map(marshalContext), (given) => marshalContext(parseContext(given))],
    ['TPMS_NV_PUBLIC', nvPublic.map(marshalNvPublic), (given) => marshalNvPublic(parseNvPublic(given))],
  ];

describe('structures', () => {
  it('give back what was written: TPMT_PUBLIC', () => {
    fc.assert(
      fc.property(publicArea, (area) => {
        expect(parsePublic(marshalPublic(area))).toEqual(area);
        expect(nameOf(area)).toEqual(nameOf(marshalPublic(area)));
      }),
    );
  });

  it('give back what was written: TPML_PCR_SELECTION', () => {
    fc.assert(
      fc.property(selections, (list) => {
        const reader = new Reader(writePcrSelections(new Writer(), list).finish());
        expect(readPcrSelections(reader)).toEqual(list);
        reader.end();
      }),
    );
  });

  it('give back what was written, 64-bit fields to the last bit: TPMS_ATTEST', () => {
    fc.assert(
      fc.property(attestFields, (fields) => {
        expect(parseAttest(quoteBytes(fields))).toEqual({
          type: 'quote',
          qualifiedSigner: fields.signer,
          extraData: fields.extra,
          clockInfo: {
            clock: fields.clock,
            resetCount: fields.resets,
            restartCount: fields.restarts,
            safe: fields.safe,
          },
          firmwareVersion: fields.firmware,
          select: fields.select,
          digest: fields.digest,
        });
      }),
    );
  });

  it('give back what was written: TPMA_OBJECT', () => {
    fc.assert(
      fc.property(attributes, (set) => {
        expect(decodeAttributes(encodeAttributes(set))).toEqual(set);
      }),
    );
  });

  for (const [name, arbitrary, parse] of marshalled) {
    it(`refuse a trailing byte: ${name}`, () => {
      fc.assert(
        fc.property(arbitrary, fc.integer({ min: 0, max: 255 }), (whole, extra) => {
          expect(() => parse(whole)).not.toThrow();
          expect(() => parse(Uint8Array.of(...whole, extra))).toThrow(KallioError);
        }),
      );
    });

    it(`refuse to be cut anywhere: ${name}`, () => {
      fc.assert(
        fc.property(arbitrary, (whole) => {
          for (let length = 0; length < whole.length; length++) {
            expect(() => parse(whole.subarray(0, length))).toThrow(KallioError);
          }
        }),
        { numRuns: 20 },
      );
    });

    it(`answer any bytes with a structure or a named refusal: ${name}`, () => {
      fc.assert(
        fc.property(bytes(300), (junk) => {
          try {
            parse(junk);
          } catch (error) {
            expect(error).toBeInstanceOf(KallioError);
          }
        }),
        { numRuns: 500 },
      );
    });

    it(`answer what was once one, with bytes turned, put in and cut out, the same way: ${name}`, () => {
      fc.assert(
        fc.property(arbitrary, fc.nat(), fc.nat(4), bytes(4), (given, where, out, put) => {
          const at = where % (given.length + 1);
          try {
            parse(concat(given.slice(0, at), put, given.slice(at + out)));
          } catch (error) {
            expect(error).toBeInstanceOf(KallioError);
          }
        }),
        { numRuns: 1000 },
      );
    });
  }

  for (const [name, arbitrary, rewrite] of rewritten) {
    // Attack: bytes that are read and then mean something else when they are written, or hashed, again.
    it(`have one writing, whatever was changed in them: ${name}`, () => {
      fc.assert(
        fc.property(arbitrary, fc.nat(), fc.nat(255), (given, where, value) => {
          expect(rewrite(given)).toEqual(given);
          const changed = given.slice();
          changed[where % changed.length] = value;
          let again: Uint8Array;
          try {
            again = rewrite(changed);
          } catch (error) {
            expect(error).toBeInstanceOf(KallioError);
            return;
          }
          expect(again).toEqual(changed);
        }),
        { numRuns: 2000 },
      );
    });
  }
});

describe('refusals of structures, by code', () => {
  const honest = quoteBytes({
    signer: new Uint8Array(34),
    extra: new Uint8Array(32),
    clock: 1n,
    resets: 1,
    restarts: 0,
    safe: true,
    firmware: 0n,
    select: [{ bank: 'sha256', pcrs: [0, 7] }],
    digest: new Uint8Array(32),
  });
  const code = (act: () => unknown): string | undefined => {
    try {
      act();
    } catch (error) {
      return error instanceof KallioError ? error.code : String(error);
    }
    return undefined;
  };
  const patched = (at: number, value: number) => {
    const copy = honest.slice();
    copy[at] = value;
    return copy;
  };

  it('an attestation whose magic is wrong', () => {
    expect(code(() => parseAttest(honest))).toBeUndefined();
    expect(code(() => parseAttest(patched(0, 0xfe)))).toBe('TPM_ATTEST_MAGIC');
  });

  it('an attestation of an unknown type', () => {
    expect(code(() => parseAttest(patched(5, 0x99)))).toBe('TPM_ATTEST_TYPE');
  });

  it('a flag that is neither 0 nor 1', () => {
    const safe = 4 + 2 + 36 + 34 + 16;
    expect(honest[safe]).toBe(1);
    expect(code(() => parseAttest(patched(safe, 2)))).toBe('TPM_STRUCTURE');
  });

  it('a public area with a reserved attribute bit, which its Name would cover', () => {
    const area = marshalPublic({
      type: 'keyedhash',
      nameAlg: 'sha256',
      attributes: decodeAttributes(0),
      authPolicy: new Uint8Array(0),
      scheme: { scheme: 'null' },
      unique: new Uint8Array(32),
    });
    expect(code(() => parsePublic(area))).toBeUndefined();
    area[7] = 1;
    expect(code(() => parsePublic(area))).toBe('TPM_STRUCTURE');
  });

  it('a PCR that no TPM has', () => {
    const select = (pcr: number) => () => writePcrSelections(new Writer(), [{ bank: 'sha256', pcrs: [pcr] }]);
    expect(code(select(23))).toBeUndefined();
    expect(code(select(24))).toBe('TPM_STRUCTURE');
  });

  it('an ECDSA signature with r or s of zero', () => {
    const make = (r: number, s: number) => () =>
      ecdsaDer({ scheme: 'ecdsa', hash: 'sha256', r: Uint8Array.of(r), s: Uint8Array.of(s) });
    expect(code(make(1, 1))).toBeUndefined();
    expect(code(make(0, 1))).toBe('TPM_SIGNATURE_INVALID');
    expect(code(make(1, 0))).toBe('TPM_SIGNATURE_INVALID');
  });
});
