import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { statSync } from 'node:fs';
import { canonicalize, Exact, KallioError, sha256, toBase64Url, utf8 } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import type { ServerCode } from '../codes.ts';
import { readJsonFile } from './config.ts';
import { writeDurably } from './files.ts';
import { layoutOf } from './layout.ts';
import { lockFile } from './lock.ts';

const Coordinate = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });

const MAX_KEYS = 16;

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
  keys: Type.Array(ResultKey, { minItems: 1, maxItems: MAX_KEYS }),
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
 * Adds a key and makes it the one that signs, within a minute in a server that runs; the earlier keys stay published, so
 * that results signed with them still verify. Gives the new key's id.
 */
export function rotateResultKeys(dataDir: string, now: Date): string {
  const path = layoutOf(dataDir).resultKeys;
  // Two at once would each take the other's key out again, with which results may have been signed meanwhile.
  const unlock = lockFile(layoutOf(dataDir).resultKeysLock);
  try {
    return rotate(path, now);
  } finally {
    unlock();
  }
}

function rotate(path: string, now: Date): string {
  const file = readJsonFile(path, ResultKeysFile);
  if (file.keys.length >= MAX_KEYS) {
    throw new KallioError(
      'RESULT_KEYS_FULL' satisfies ServerCode,
      `There are ${MAX_KEYS} result-signing keys already.`,
      { hint: `Take the oldest out of ${path} once nobody needs its results any more.` },
    );
  }
  const key = newKey(now);
  write(path, { active: key.kid, keys: [...file.keys, key] });
  return key.kid;
}

/** The keys as the file has them now: looks again whenever it is told to, and reads a file that was replaced. */
export class CurrentResultKeys implements ResultKeys {
  readonly #path: string;
  #changedAt: number;
  #keys: ResultKeys;

  constructor(path: string) {
    this.#path = path;
    this.#changedAt = statSync(path).mtimeMs;
    this.#keys = readResultKeys(path);
  }

  get active() {
    return this.#keys.active;
  }

  get jwks() {
    return this.#keys.jwks;
  }

  /** Reads the file again if it was replaced. What can't be used is an error, and the keys stay as they were. */
  refresh(): void {
    const { mtimeMs } = statSync(this.#path);
    if (mtimeMs === this.#changedAt) return;
    this.#keys = readResultKeys(this.#path);
    this.#changedAt = mtimeMs;
  }
}

function readResultKeys(path: string): ResultKeys {
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
