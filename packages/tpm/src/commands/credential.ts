import { Writer } from '@kallio/codec';
import type { Authorization } from '../authorization.ts';
import type { Reference } from '../reference.ts';
import type { Credential } from '../software/credential.ts';
import { readSized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_MakeCredential (Part 3 section 12.6), with a loaded EK; `makeCredential` does the same without a TPM. */
export async function makeCredentialInTpm(
  tpm: Tpm,
  ek: Reference,
  secret: Uint8Array,
  objectName: Uint8Array,
): Promise<Credential> {
  const response = await tpm.execute({
    name: 'TPM2_MakeCredential',
    code: 0x168,
    handles: [ek],
    parameters: writeSized(writeSized(new Writer(), secret), objectName).finish(),
  });
  const credentialBlob = readSized(response.parameters, 256, 'The credential').slice();
  const encryptedSecret = readSized(response.parameters, 512, 'The encrypted secret').slice();
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
    parameters: parameters.finish(),
  });
  const secret = readSized(response.parameters, 64, 'The credential').slice();
  response.parameters.end('TPM2_ActivateCredential');
  return secret;
}

/** An object and what authorizes its use; a session wants its Name too. */
interface Authorized {
  readonly handle: number;
  readonly name?: Uint8Array;
  readonly authorization: Authorization;
}
