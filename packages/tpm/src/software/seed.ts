import { constants, diffieHellman, generateKeyPairSync, publicEncrypt, randomBytes } from 'node:crypto';
import { concat, fromBase64Url, utf8, Writer } from '@kallio/codec';
import { hashBytes } from '../structures/algorithms.ts';
import type { EccPublic, RsaPublic } from '../structures/public.ts';
import { writeSized } from '../structures/sized.ts';
import { kdfe } from './kdf.ts';
import { padded, publicKeyOf } from './public-key.ts';

/** A secret that a TPM's key shares with us. */
export interface SharedSeed {
  readonly seed: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET without its size: what the TPM recovers the seed from. */
  readonly encryptedSecret: Uint8Array;
}

/** What a seed is for; the label keeps one use's seed from serving another. */
export type SeedLabel = 'IDENTITY' | 'SECRET';

/** A fresh seed for the holder of a decryption key, as long as the key's name digest (Part 1 annexes B.10, C.6). */
export function shareSeed(key: RsaPublic | EccPublic, label: SeedLabel): SharedSeed {
  return key.type === 'rsa' ? rsaSeed(key, label) : eccSeed(key, label);
}

function rsaSeed(key: RsaPublic, label: SeedLabel): SharedSeed {
  const seed = new Uint8Array(randomBytes(hashBytes(key.nameAlg)));
  // The OAEP label has a zero octet at its end (annex B.4).
  const encryptedSecret = publicEncrypt(
    {
      key: publicKeyOf(key),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: key.nameAlg,
      oaepLabel: concat(utf8(label), new Uint8Array(1)),
    },
    seed,
  );
  return { seed, encryptedSecret: new Uint8Array(encryptedSecret) };
}

function eccSeed(key: EccPublic, label: SeedLabel): SharedSeed {
  const bytes = key.curve === 'P-256' ? 32 : 48;
  const publicKey = publicKeyOf(key);
  const ephemeral = generateKeyPairSync('ec', { namedCurve: key.curve });
  const z = new Uint8Array(diffieHellman({ privateKey: ephemeral.privateKey, publicKey }));
  const jwk = ephemeral.publicKey.export({ format: 'jwk' });
  const x = fromBase64Url(jwk.x ?? '');
  const y = fromBase64Url(jwk.y ?? '');
  const seed = kdfe(key.nameAlg, z, label, x, padded(key.x, bytes), hashBytes(key.nameAlg) * 8);
  return { seed, encryptedSecret: writeSized(writeSized(new Writer(), x), y).finish() };
}
