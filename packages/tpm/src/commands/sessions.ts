import { randomBytes } from 'node:crypto';
import { Writer } from '@kallio/codec';
import { HANDLE } from '../handles.ts';
import { ALG } from '../structures/algorithms.ts';
import { readSized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

const SE_POLICY = 0x01;
const SE_TRIAL = 0x03;

/**
 * TPM2_StartAuthSession (Part 3 section 11.1): a policy session, neither salted nor bound; or a trial, which computes a
 * policy's digest without meeting it.
 */
export async function startPolicySession(tpm: Tpm, kind: 'policy' | 'trial' = 'policy'): Promise<number> {
  const parameters = new Writer();
  writeSized(parameters, new Uint8Array(randomBytes(32)));
  parameters
    .u16(0)
    .u8(kind === 'trial' ? SE_TRIAL : SE_POLICY)
    .u16(ALG.null)
    .u16(ALG.sha256);
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
