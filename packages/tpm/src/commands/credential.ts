import { Writer } from '@kallio/codec';
import { type Authorization, type Protection, protect, type SessionUse } from '../authorization.ts';
import type { Reference } from '../reference.ts';
import type { Credential } from '../software/credential.ts';
import { copySized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_MakeCredential (Part 3 section 12.6), with a loaded EK; `makeCredential` does the same without a TPM. */
export async function makeCredentialInTpm(
  tpm: Tpm,
  ek: Reference,
  secret: Uint8Array,
  objectName: Uint8Array,
  protection: Protection = {},
): Promise<Credential> {
  const response = await tpm.execute({
    name: 'TPM2_MakeCredential',
    code: 0x168,
    handles: [ek],
    ...protect(protection, 0),
    parameters: writeSized(writeSized(new Writer(), secret), objectName).finish(),
  });
  const credentialBlob = copySized(response.parameters, 256, 'The credential');
  const encryptedSecret = copySized(response.parameters, 512, 'The encrypted secret');
  response.parameters.end('TPM2_MakeCredential');
  return { credentialBlob, encryptedSecret };
}

/**
 * TPM2_ActivateCredential (Part 3 section 12.5). `credentialBlob` and `encryptedSecret` come without their outer size.
 */
export async function activateCredential(
  tpm: Tpm,
  input: Credential & {
    readonly activate: Authorized;
    readonly key: Authorized;
    readonly sessions?: readonly SessionUse[];
  },
): Promise<Uint8Array> {
  const parameters = new Writer();
  writeSized(parameters, input.credentialBlob);
  writeSized(parameters, input.encryptedSecret);
  const response = await tpm.execute({
    name: 'TPM2_ActivateCredential',
    code: 0x147,
    handles: [input.activate, input.key],
    authorizations: [input.activate.authorization, input.key.authorization],
    sessions: input.sessions ?? [],
    parameters: parameters.finish(),
  });
  const secret = copySized(response.parameters, 64, 'The credential');
  response.parameters.end('TPM2_ActivateCredential');
  return secret;
}

/** An object and what authorizes its use; a session wants its Name too. */
interface Authorized {
  readonly handle: number;
  readonly name?: Uint8Array;
  readonly authorization: Authorization;
}
