import { Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import type { Reference } from '../reference.ts';
import { ALG } from '../structures/algorithms.ts';
import { marshalSignature, readSignature, type TpmtSignature } from '../structures/signature.ts';
import { writeSized } from '../structures/sized.ts';
import { readTicket, type Ticket } from '../structures/ticket.ts';
import type { Tpm } from '../tpm.ts';

const ST_HASHCHECK = 0x8024;

/** TPM2_Sign (Part 3 section 20.2) of a digest, by an unrestricted key that names its scheme. */
export async function sign(
  tpm: Tpm,
  key: Reference,
  digest: Uint8Array,
  protection: Protection = {},
): Promise<TpmtSignature> {
  const parameters = new Writer();
  writeSized(parameters, digest).u16(ALG.null);
  // An unrestricted key needs no ticket: the null ticket.
  parameters.u16(ST_HASHCHECK).u32(HANDLE.null).u16(0);
  const response = await tpm.execute({
    name: 'TPM2_Sign',
    code: 0x15d,
    handles: [key],
    ...protect(protection, 1),
    parameters: parameters.finish(),
  });
  const signature = readSignature(response.parameters);
  response.parameters.end('TPM2_Sign');
  return signature;
}

/**
 * TPM2_VerifySignature (Part 3 section 20.1) of a digest, by the TPM. A wrong signature is refused; a right one earns a
 * ticket, which TPM2_PolicyAuthorize takes.
 */
export async function verifySignatureInTpm(
  tpm: Tpm,
  key: Reference,
  digest: Uint8Array,
  signature: TpmtSignature,
): Promise<Ticket> {
  const response = await tpm.execute({
    name: 'TPM2_VerifySignature',
    code: 0x177,
    handles: [key],
    parameters: writeSized(new Writer(), digest).bytes(marshalSignature(signature)).finish(),
  });
  const ticket = readTicket(response.parameters);
  response.parameters.end('TPM2_VerifySignature');
  return ticket;
}
