import { randomBytes } from 'node:crypto';
import { Writer } from '@kallio/codec';
import { HANDLE } from '../handles.ts';
import { entityName, type Reference } from '../reference.ts';
import { Session } from '../sessions/session.ts';
import { shareSeed } from '../software/seed.ts';
import { ALG, type HashName, hashBytes, hashId } from '../structures/algorithms.ts';
import type { EccPublic, RsaPublic } from '../structures/public.ts';
import { copySized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

const SESSION_TYPE = { hmac: 0x00, policy: 0x01, trial: 0x03 } as const;

/** What a session's key is made of. Without salt and bind there is none. */
export interface SessionOptions {
  readonly kind?: 'hmac' | 'policy';
  readonly hash?: HashName;
  /**
   * A loaded decryption key, and its public area from a source that a bus interposer can't reach (its certificate, say):
   * whoever holds the private key to this area can read and forge all that the session protects.
   */
  readonly salt?: { readonly handle: number; readonly public: RsaPublic | EccPublic };
  /** An entity and its authorization value: worth as much as that value is hard to guess. */
  readonly bind?: { readonly to: Reference; readonly authValue: Uint8Array };
}

/** TPM2_StartAuthSession (Part 3 section 11.1): a session with HMACs and parameter encryption (AES-128-CFB). */
export async function startSession(tpm: Tpm, options: SessionOptions = {}): Promise<Session> {
  const { kind = 'hmac', hash = 'sha256', salt, bind } = options;
  const nonceCaller = new Uint8Array(randomBytes(hashBytes(hash)));
  const shared = salt === undefined ? undefined : shareSeed(salt.public, 'SECRET');
  const parameters = writeSized(new Writer(), nonceCaller);
  writeSized(parameters, shared?.encryptedSecret ?? new Uint8Array(0)).u8(SESSION_TYPE[kind]);
  parameters.u16(ALG.aes).u16(128).u16(ALG.cfb).u16(hashId(hash));
  const { handle, nonceTpm } = await start(
    tpm,
    [salt?.handle ?? HANDLE.null, bind?.to ?? HANDLE.null],
    parameters.finish(),
  );
  const bound =
    bind === undefined ? undefined : { name: entityName(bind.to), authValue: bind.authValue.slice() };
  const seed = shared?.seed ?? new Uint8Array(0);
  return new Session({ handle, kind, hash, nonceCaller, nonceTpm, salt: seed, bound });
}

/**
 * TPM2_StartAuthSession (Part 3 section 11.1): a policy session without HMACs; or a trial, which computes a policy's
 * digest without meeting it.
 */
export async function startPolicySession(tpm: Tpm, kind: 'policy' | 'trial' = 'policy'): Promise<number> {
  const parameters = writeSized(new Writer(), new Uint8Array(randomBytes(32)));
  parameters.u16(0).u8(SESSION_TYPE[kind]).u16(ALG.null).u16(ALG.sha256);
  return (await start(tpm, [HANDLE.null, HANDLE.null], parameters.finish())).handle;
}

async function start(
  tpm: Tpm,
  handles: readonly Reference[],
  parameters: Uint8Array,
): Promise<{ handle: number; nonceTpm: Uint8Array }> {
  const name = 'TPM2_StartAuthSession';
  const response = await tpm.execute({ name, code: 0x176, handles, parameters, returnsHandle: true });
  const nonceTpm = copySized(response.parameters, 64, 'The TPM’s nonce');
  response.parameters.end(name);
  return { handle: response.handle, nonceTpm };
}
