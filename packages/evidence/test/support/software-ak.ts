import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { fromBase64Url, sha256, toBase64, Writer } from '@kallio/codec';
import {
  type HashName,
  marshalPublic,
  marshalSignature,
  type ObjectAttributes,
  type PcrSelection,
  type TpmtSignature,
  writePcrSelections,
} from '@kallio/tpm/structures';
import type { Attestation } from '../../src/index.ts';

const PSS = { padding: 6, saltLength: 32 };
const PKCS1 = { padding: 1 };

/** The schemes that an AK signs by. */
export type Scheme = 'ecdsa' | 'rsassa' | 'rsapss';

/** Fields of a TPMS_ATTEST of a quote; any can be what no TPM would say. */
export interface QuoteFields {
  readonly extraData: Uint8Array;
  readonly select: readonly PcrSelection[];
  /** Values in the order of the selection; their digest is what the quote says, unless `digest` is given. */
  readonly values: readonly Uint8Array[];
  readonly digest?: Uint8Array;
  readonly magic?: number;
  readonly type?: number;
  readonly trailing?: Uint8Array;
}

/** An AK made of software: it signs what no TPM would, so that each flaw can stand next to its honest twin. */
export class SoftwareAk {
  /** TPMT_PUBLIC. */
  readonly public: Uint8Array;
  readonly #scheme: Scheme;
  readonly #key: KeyObject;

  constructor(scheme: Scheme) {
    this.#scheme = scheme;
    const pair =
      scheme === 'ecdsa'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.#key = pair.privateKey;
    this.public = publicArea(scheme, pair.publicKey);
  }

  quote(fields: QuoteFields): Attestation {
    const attest = attestBytes(fields);
    return { attest: toBase64(attest), signature: toBase64(this.sign(attest)) };
  }

  /** TPMT_SIGNATURE over any bytes. */
  sign(bytes: Uint8Array, hash: HashName = 'sha256'): Uint8Array {
    return marshalSignature(this.#signature(bytes, hash));
  }

  #signature(bytes: Uint8Array, hash: HashName): TpmtSignature {
    if (this.#scheme === 'ecdsa') {
      const both = new Uint8Array(sign(hash, bytes, { key: this.#key, dsaEncoding: 'ieee-p1363' }));
      return { scheme: 'ecdsa', hash, r: both.slice(0, 32), s: both.slice(32) };
    }
    const padding = this.#scheme === 'rsapss' ? PSS : PKCS1;
    const signature = new Uint8Array(sign(hash, bytes, { key: this.#key, ...padding }));
    return { scheme: this.#scheme, hash, signature };
  }
}

const ATTRIBUTES: ObjectAttributes = {
  fixedTPM: true,
  stClear: false,
  fixedParent: true,
  sensitiveDataOrigin: true,
  userWithAuth: true,
  adminWithPolicy: false,
  noDA: false,
  encryptedDuplication: false,
  restricted: true,
  decrypt: false,
  sign: true,
};

function publicArea(scheme: Scheme, key: KeyObject): Uint8Array {
  const { n = '', x = '', y = '' } = key.export({ format: 'jwk' });
  const common = {
    nameAlg: 'sha256',
    attributes: ATTRIBUTES,
    authPolicy: new Uint8Array(),
    symmetric: 'null',
    scheme: { scheme, hash: 'sha256' },
  } as const;
  return scheme === 'ecdsa'
    ? marshalPublic({ type: 'ecc', ...common, curve: 'P-256', x: fromBase64Url(x), y: fromBase64Url(y) })
    : marshalPublic({ type: 'rsa', ...common, keyBits: 2048, exponent: 0, modulus: fromBase64Url(n) });
}

function attestBytes(fields: QuoteFields): Uint8Array {
  const type = fields.type ?? 0x8018;
  const name = new Uint8Array(34);
  const writer = new Writer()
    .u32(fields.magic ?? 0xff54_4347)
    .u16(type)
    .u16(name.length)
    .bytes(name)
    .u16(fields.extraData.length)
    .bytes(fields.extraData)
    .u64(123_456n)
    .u32(7)
    .u32(3)
    .u8(1)
    .u64(0x2024_0125_0012_0000n);
  // A certification has two names where a quote has selection and digest.
  if (type === 0x8017) return writer.u16(34).bytes(name).u16(34).bytes(name).finish();
  // One of an NV index says what its owner wrote there, who may write anything (TPMS_NV_CERTIFY_INFO, Part 2 section 10.12.8).
  if (type === 0x8014) return writer.u16(34).bytes(name).u16(0).u16(34).bytes(name).finish();
  writePcrSelections(writer, fields.select);
  const digest = fields.digest ?? sha256(...fields.values);
  return writer
    .u16(digest.length)
    .bytes(digest)
    .bytes(fields.trailing ?? new Uint8Array())
    .finish();
}
