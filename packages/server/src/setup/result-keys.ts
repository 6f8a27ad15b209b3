import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { canonicalize, Exact, KallioError, sha256, toBase64Url, utf8 } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { readJsonFile } from './config.ts';
import { writeDurably } from './files.ts';

const Coordinate = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });

const ResultKey = Exact({
  kty: Type.Literal('EC'),
  crv: Type.Literal('P-256'),
  x: Coordinate,
  y: Coordinate,
  d: Coordinate,
  kid: Type.String({ minLength: 1, maxLength: 64 }),
  createdAt: Type.String(),
});

/** `keys/results.json`: every key whose results are still believed, and the one that signs. */
const ResultKeysFile = Exact({
  active: Type.String(),
  keys: Type.Array(ResultKey, { minItems: 1, maxItems: 16 }),
});
type ResultKeysFile = Static<typeof ResultKeysFile>;

/** The keys that sign results. */
export interface ResultKeys {
  readonly active: { readonly keyId: string; readonly key: KeyObject };
  /** Public keys, as a JWKS. */
  readonly jwks: { readonly keys: Record<string, unknown>[] };
}

/** Makes the first result-signing key. */
export function createResultKeys(path: string, now: Date): void {
  const key = newKey(now);
  write(path, { active: key.kid, keys: [key] });
}

/**
 * Adds a key and signs with it from the next start on; the earlier keys stay published, so that results signed with
 * them still verify. Returns the new key's id.
 */
export function rotateResultKeys(path: string, now: Date): string {
  const file = readJsonFile(path, ResultKeysFile);
  const key = newKey(now);
  write(path, { active: key.kid, keys: [...file.keys, key] });
  return key.kid;
}

export function readResultKeys(path: string): ResultKeys {
  const file = readJsonFile(path, ResultKeysFile);
  const active = file.keys.find((key) => key.kid === file.active);
  if (active === undefined) {
    throw new KallioError('CONFIG_INVALID', `${path} has no key with the id it calls active.`);
  }
  return {
    active: { keyId: active.kid, key: createPrivateKey({ format: 'jwk', key: { ...active } }) },
    jwks: {
      keys: file.keys.map(({ kty, crv, x, y, kid }) => ({ kty, crv, x, y, kid, alg: 'ES256', use: 'sig' })),
    },
  };
}

function newKey(now: Date): ResultKeysFile['keys'][number] {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '', d = '' } = privateKey.export({ format: 'jwk' });
  // The key id is the JWK thumbprint (RFC 7638): it can't name another key.
  const kid = toBase64Url(sha256(utf8(canonicalize({ crv: 'P-256', kty: 'EC', x, y }))));
  return { kty: 'EC', crv: 'P-256', x, y, d, kid, createdAt: now.toISOString() };
}

function write(path: string, file: ResultKeysFile): void {
  writeDurably(path, `${JSON.stringify(file, null, 2)}\n`);
}
