import { createHash } from 'node:crypto';
import { concat, KallioError, Reader, Writer } from '@kallio/codec';
import { ALG, type CurveName, curveId, curveName, type HashName, hashId, hashName } from './algorithms.ts';
import { decodeAttributes, encodeAttributes, type ObjectAttributes } from './attributes.ts';
import type { TpmCode } from './error.ts';
import { copySized, writeSized } from './sized.ts';

/** A signing scheme (TPMT_SIG_SCHEME) or none. */
export type SigningScheme =
  | { readonly scheme: 'null' }
  | { readonly scheme: 'rsassa' | 'rsapss' | 'ecdsa' | 'hmac'; readonly hash: HashName }
  | { readonly scheme: 'oaep'; readonly hash: HashName }
  | { readonly scheme: 'ecdh'; readonly hash: HashName };

/** The symmetric algorithm of a storage or endorsement key (TPMT_SYM_DEF_OBJECT); only AES-CFB is spoken. */
export type SymmetricDefinition = { readonly bits: 128 | 192 | 256 } | 'null';

/** TPMT_PUBLIC (Part 2 section 12.2.4). The object's Name covers every byte of it. */
export type TpmtPublic = RsaPublic | EccPublic | KeyedHashPublic;

interface PublicCommon {
  readonly nameAlg: HashName;
  readonly attributes: ObjectAttributes;
  readonly authPolicy: Uint8Array;
}

export interface RsaPublic extends PublicCommon {
  readonly type: 'rsa';
  readonly symmetric: SymmetricDefinition;
  readonly scheme: SigningScheme;
  readonly keyBits: number;
  /** 0 stands for 65537. */
  readonly exponent: number;
  readonly modulus: Uint8Array;
}

export interface EccPublic extends PublicCommon {
  readonly type: 'ecc';
  readonly symmetric: SymmetricDefinition;
  readonly scheme: SigningScheme;
  readonly curve: CurveName;
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

export interface KeyedHashPublic extends PublicCommon {
  readonly type: 'keyedhash';
  readonly scheme: SigningScheme;
  readonly unique: Uint8Array;
}

const SCHEMES = new Map<number, 'rsassa' | 'rsapss' | 'ecdsa' | 'oaep' | 'ecdh' | 'hmac'>([
  [ALG.rsassa, 'rsassa'],
  [ALG.rsapss, 'rsapss'],
  [ALG.ecdsa, 'ecdsa'],
  [ALG.oaep, 'oaep'],
  [ALG.ecdh, 'ecdh'],
  [ALG.hmac, 'hmac'],
]);

const MAX_PUBLIC = 1024;
const MAX_UNIQUE = 512;

/** Parses a TPMT_PUBLIC; trailing bytes are refused. */
export function parsePublic(bytes: Uint8Array): TpmtPublic {
  if (bytes.length > MAX_PUBLIC)
    throw malformed(`A public area of ${bytes.length} bytes is longer than any TPM's.`);
  const reader = new Reader(bytes);
  const parsed = readPublic(reader);
  reader.end('A TPMT_PUBLIC');
  return parsed;
}

function readPublic(reader: Reader): TpmtPublic {
  const type = reader.u16('The type of a key');
  const nameAlg = hashName(reader.u16('The name algorithm of a key'));
  const word = reader.u32('The attributes of a key');
  const attributes = decodeAttributes(word);
  // A reserved bit would count towards the Name and be lost when the structure is written again.
  if (encodeAttributes(attributes) !== word) throw malformed('A reserved attribute bit of this key is set.');
  const authPolicy = copySized(reader, 64, 'The policy digest of a key');
  const common = { nameAlg, attributes, authPolicy };
  switch (type) {
    case ALG.rsa:
      return {
        type: 'rsa',
        ...common,
        symmetric: readSymmetric(reader),
        scheme: readScheme(reader),
        keyBits: reader.u16('The size of an RSA key'),
        exponent: reader.u32('The exponent of an RSA key'),
        modulus: copySized(reader, MAX_UNIQUE, 'The modulus of an RSA key'),
      };
    case ALG.ecc: {
      const symmetric = readSymmetric(reader);
      const scheme = readScheme(reader);
      const curve = curveName(reader.u16('The curve of a key'));
      const kdf = reader.u16('The KDF of a key');
      if (kdf !== ALG.null) throw malformed('An ECC key with a KDF of its own is not known here.');
      const x = copySized(reader, 66, 'The x coordinate of a key');
      const y = copySized(reader, 66, 'The y coordinate of a key');
      return { type: 'ecc', ...common, symmetric, scheme, curve, x, y };
    }
    case ALG.keyedhash:
      return {
        type: 'keyedhash',
        ...common,
        scheme: readScheme(reader),
        unique: copySized(reader, 64, 'The unique field of an object'),
      };
    default:
      throw new KallioError<TpmCode>(
        'TPM_ALGORITHM',
        `A key of type 0x${type.toString(16)} is not known here.`,
      );
  }
}

/** Writes a TPMT_PUBLIC. */
export function marshalPublic(key: TpmtPublic): Uint8Array {
  const writer = new Writer();
  writer.u16(ALG[key.type]).u16(hashId(key.nameAlg)).u32(encodeAttributes(key.attributes));
  writeSized(writer, key.authPolicy);
  switch (key.type) {
    case 'rsa':
      writeSymmetric(writer, key.symmetric);
      writeScheme(writer, key.scheme);
      writer.u16(key.keyBits).u32(key.exponent);
      return writeSized(writer, key.modulus).finish();
    case 'ecc':
      writeSymmetric(writer, key.symmetric);
      writeScheme(writer, key.scheme);
      writer.u16(curveId(key.curve)).u16(ALG.null);
      writeSized(writer, key.x);
      return writeSized(writer, key.y).finish();
    case 'keyedhash':
      writeScheme(writer, key.scheme);
      return writeSized(writer, key.unique).finish();
  }
}

/** The Name of an object: its name algorithm and the hash of its public area (Part 1 section 16). */
export function nameOf(key: TpmtPublic | Uint8Array): Uint8Array {
  const bytes = key instanceof Uint8Array ? key : marshalPublic(key);
  const parsed = key instanceof Uint8Array ? parsePublic(key) : key;
  return concat(
    new Writer(2).u16(hashId(parsed.nameAlg)).finish(),
    new Uint8Array(createHash(parsed.nameAlg).update(bytes).digest()),
  );
}

function readSymmetric(reader: Reader): SymmetricDefinition {
  const algorithm = reader.u16('A symmetric algorithm');
  if (algorithm === ALG.null) return 'null';
  const bits = reader.u16('The size of a symmetric key');
  const mode = reader.u16('The mode of a symmetric key');
  if (algorithm !== ALG.aes || mode !== ALG.cfb || (bits !== 128 && bits !== 192 && bits !== 256)) {
    throw new KallioError<TpmCode>('TPM_ALGORITHM', 'The only symmetric algorithm known here is AES-CFB.');
  }
  return { bits };
}

function writeSymmetric(writer: Writer, symmetric: SymmetricDefinition): void {
  if (symmetric === 'null') writer.u16(ALG.null);
  else writer.u16(ALG.aes).u16(symmetric.bits).u16(ALG.cfb);
}

function readScheme(reader: Reader): SigningScheme {
  const id = reader.u16('A scheme');
  if (id === ALG.null) return { scheme: 'null' };
  const scheme = SCHEMES.get(id);
  if (scheme === undefined) {
    throw new KallioError<TpmCode>('TPM_ALGORITHM', `The scheme 0x${id.toString(16)} is not known here.`);
  }
  return { scheme, hash: hashName(reader.u16('The hash of a scheme')) };
}

function writeScheme(writer: Writer, scheme: SigningScheme): void {
  if (scheme.scheme === 'null') writer.u16(ALG.null);
  else writer.u16(ALG[scheme.scheme]).u16(hashId(scheme.hash));
}

function malformed(message: string): KallioError {
  return new KallioError<TpmCode>('TPM_STRUCTURE', message);
}
