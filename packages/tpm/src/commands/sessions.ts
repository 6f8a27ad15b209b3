import { randomBytes } from 'node:crypto';
import { Writer } from '@kallio/codec';
import { NO_PASSWORD } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import { ALG } from '../structures/algorithms.ts';
import { readSized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

const SE_POLICY = 0x01;

/** TPM2_StartAuthSession (Part 3 section 11.1): a policy session, neither salted nor bound. */
export async function startPolicySession(tpm: Tpm): Promise<number> {
  const parameters = new Writer();
  writeSized(parameters, new Uint8Array(randomBytes(32)));
  parameters.u16(0).u8(SE_POLICY).u16(ALG.null).u16(ALG.sha256);
  const response = await tpm.execute({
    name: 'TPM2_StartAuthSession',
    code: 0x176,
    handles: [HANDLE.null, HANDLE.null],
    parameters: parameters.finish(),
    returnsHandle: true,
  });
  readSized(response.parameters, 64, 'The TPM’s nonce');
  response.parameters.end('TPM2_StartAuthSession');
  return response.handle;
}

/** TPM2_PolicySecret (Part 3 section 23.4), with the empty authorization of `entity`. */
export async function policySecret(tpm: Tpm, session: number, entity: number): Promise<void> {
  const response = await tpm.execute({
    name: 'TPM2_PolicySecret',
    code: 0x151,
    handles: [entity, session],
    authorizations: [NO_PASSWORD],
    // No nonce, no command parameters, no reference, no expiration.
    parameters: new Writer().u16(0).u16(0).u16(0).u32(0).finish(),
  });
  const reader = response.parameters;
  readSized(reader, 64, 'The timeout');
  reader.u16('The ticket’s tag');
  reader.u32('The ticket’s hierarchy');
  readSized(reader, 64, 'The ticket’s digest');
  reader.end('TPM2_PolicySecret');
}
