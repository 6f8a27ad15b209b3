import { KallioError } from '@kallio/codec';
import type { TpmCode } from './error.ts';

/** TPM_ALG_ID values used here (TCG Algorithm Registry, table 3). */
export const ALG = {
  rsa: 0x0001,
  sha1: 0x0004,
  hmac: 0x0005,
  aes: 0x0006,
  keyedhash: 0x0008,
  xor: 0x000a,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  null: 0x0010,
  sm3: 0x0012,
  rsassa: 0x0014,
  rsaes: 0x0015,
  rsapss: 0x0016,
  oaep: 0x0017,
  ecdsa: 0x0018,
  ecdh: 0x0019,
  ecdaa: 0x001a,
  ecschnorr: 0x001c,
  kdf1sp80056a: 0x0020,
  kdf1sp800108: 0x0022,
  ecc: 0x0023,
  symcipher: 0x0025,
  cfb: 0x0043,
} as const;

/** Hash algorithms by the name that node:crypto, OCI and Linux use. */
export type HashName = 'sha1' | 'sha256' | 'sha384' | 'sha512';

const HASHES: ReadonlyMap<number, HashName> = new Map([
  [ALG.sha1, 'sha1'],
  [ALG.sha256, 'sha256'],
  [ALG.sha384, 'sha384'],
  [ALG.sha512, 'sha512'],
]);

const HASH_IDS: Readonly<Record<HashName, number>> = {
  sha1: ALG.sha1,
  sha256: ALG.sha256,
  sha384: ALG.sha384,
  sha512: ALG.sha512,
};

const HASH_BYTES: Readonly<Record<HashName, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };

/** The hash algorithm of a TPM_ALG_ID; another algorithm is `TPM_ALGORITHM`. */
export function hashName(id: number): HashName {
  const name = HASHES.get(id);
  if (name === undefined) {
    throw new KallioError<TpmCode>('TPM_ALGORITHM', `0x${id.toString(16)} is no hash algorithm known here.`);
  }
  return name;
}

/** The TPM_ALG_ID of a hash algorithm. */
export function hashId(name: HashName): number {
  return HASH_IDS[name];
}

/** The length of a digest, in bytes. */
export function hashBytes(name: HashName): number {
  return HASH_BYTES[name];
}

/** Curves by their TPM_ECC_CURVE (TCG Algorithm Registry, table 4). */
export type CurveName = 'P-256' | 'P-384' | 'P-521' | `unknown-${number}`;

const CURVES: ReadonlyMap<number, CurveName> = new Map([
  [0x0003, 'P-256'],
  [0x0004, 'P-384'],
  [0x0005, 'P-521'],
]);

/** The curve's name; one that is not known here is named by its number, so that it can be refused by name. */
export function curveName(id: number): CurveName {
  return CURVES.get(id) ?? `unknown-${id}`;
}

/** The TPM_ECC_CURVE of a name. */
export function curveId(name: CurveName): number {
  for (const [id, known] of CURVES) if (known === name) return id;
  return Number(name.slice('unknown-'.length));
}
