import { createCipheriv, createHmac } from 'node:crypto';
import { concat, KallioError, Writer } from '@kallio/codec';
import { hashBytes } from '../structures/algorithms.ts';
import type { TpmCode } from '../structures/error.ts';
import type { TpmtPublic } from '../structures/public.ts';
import { writeSized } from '../structures/sized.ts';
import { kdfa } from './kdf.ts';
import { shareSeed } from './seed.ts';

/** What TPM2_ActivateCredential takes; both without their outer TPM2B size. */
export interface Credential {
  /** TPMS_ID_OBJECT: integrity HMAC and encrypted identity. */
  readonly credentialBlob: Uint8Array;
  /** The seed, encrypted to the EK. */
  readonly encryptedSecret: Uint8Array;
}

/**
 * Encrypts `secret` so that only the TPM that holds both the EK and an object of that Name can open it
 * (TPM2_MakeCredential in software: Part 1 section 24, annexes B.10.4 and C.6.4).
 */
export function makeCredential(ek: TpmtPublic, objectName: Uint8Array, secret: Uint8Array): Credential {
  if (ek.type === 'keyedhash' || ek.symmetric === 'null') {
    throw new KallioError<TpmCode>(
      'TPM_CREDENTIAL',
      'A credential is made for an endorsement key: RSA or ECC, with AES.',
    );
  }
  const hash = ek.nameAlg;
  if (secret.length > hashBytes(hash)) {
    throw new KallioError<TpmCode>(
      'TPM_CREDENTIAL',
      `A credential secret has at most ${hashBytes(hash)} bytes.`,
    );
  }
  const { seed, encryptedSecret } = shareSeed(ek, 'IDENTITY');
  const none = new Uint8Array(0);
  const aesKey = kdfa(hash, seed, 'STORAGE', objectName, none, ek.symmetric.bits);
  const cipher = createCipheriv(`aes-${ek.symmetric.bits}-cfb`, aesKey, new Uint8Array(16));
  const identity = new Uint8Array(
    Buffer.concat([cipher.update(writeSized(new Writer(), secret).finish()), cipher.final()]),
  );
  const macKey = kdfa(hash, seed, 'INTEGRITY', none, none, hashBytes(hash) * 8);
  const mac = createHmac(hash, macKey).update(identity).update(objectName).digest();
  return {
    credentialBlob: concat(writeSized(new Writer(), new Uint8Array(mac)).finish(), identity),
    encryptedSecret,
  };
}
