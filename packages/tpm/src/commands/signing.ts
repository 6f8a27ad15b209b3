import { Writer } from '@kallio/codec';
import { NO_PASSWORD } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import { ALG } from '../structures/algorithms.ts';
import { readSignature, type TpmtSignature } from '../structures/signature.ts';
import { writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

const ST_HASHCHECK = 0x8024;

/** TPM2_Sign (Part 3 section 20.2) of a digest, by an unrestricted key that names its scheme. */
export async function sign(tpm: Tpm, key: number, digest: Uint8Array): Promise<TpmtSignature> {
  const parameters = new Writer();
  writeSized(parameters, digest).u16(ALG.null);
  // An unrestricted key needs no ticket: the null ticket.
  parameters.u16(ST_HASHCHECK).u32(HANDLE.null).u16(0);
  const response = await tpm.execute({
    name: 'TPM2_Sign',
    code: 0x15d,
    handles: [key],
    authorizations: [NO_PASSWORD],
    parameters: parameters.finish(),
  });
  const signature = readSignature(response.parameters);
  response.parameters.end('TPM2_Sign');
  return signature;
}
