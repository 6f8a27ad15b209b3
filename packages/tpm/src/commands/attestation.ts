import { type Reader, Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import type { Reference } from '../reference.ts';
import { ALG } from '../structures/algorithms.ts';
import type { NvPublic } from '../structures/nv-public.ts';
import { type PcrSelection, writePcrSelections } from '../structures/pcr-selection.ts';
import { copySized, writeSized } from '../structures/sized.ts';
import { writeTicket } from '../structures/ticket.ts';
import type { Tpm } from '../tpm.ts';
import { type NvProtection, nvReference } from './nv.ts';
import type { Creation } from './objects.ts';

/** TPMS_ATTEST and TPMT_SIGNATURE, as the TPM marshals them. */
export interface Attested {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

/** TPM2_Quote (Part 3 section 18.4), by a key that names its scheme. */
export async function quote(
  tpm: Tpm,
  key: Reference,
  qualifyingData: Uint8Array,
  selections: readonly PcrSelection[],
  protection: Protection = {},
): Promise<Attested> {
  const parameters = new Writer();
  writeSized(parameters, qualifyingData).u16(ALG.null);
  writePcrSelections(parameters, selections);
  const response = await tpm.execute({
    name: 'TPM2_Quote',
    code: 0x158,
    handles: [key],
    ...protect(protection, 1),
    parameters: parameters.finish(),
  });
  return attested(response.parameters);
}

/** TPM2_Certify (Part 3 section 18.2): `key` says that `object` is loaded in the same TPM. Authorizations: object, key. */
export async function certify(
  tpm: Tpm,
  object: Reference,
  key: Reference,
  qualifyingData: Uint8Array,
  protection: Protection = {},
): Promise<Attested> {
  const parameters = new Writer();
  writeSized(parameters, qualifyingData).u16(ALG.null);
  const response = await tpm.execute({
    name: 'TPM2_Certify',
    code: 0x148,
    handles: [object, key],
    ...protect(protection, 2),
    parameters: parameters.finish(),
  });
  return attested(response.parameters);
}

/** TPM2_CertifyCreation (Part 3 section 18.3): `key` says that `object` was created in the same TPM, and how. */
export async function certifyCreation(
  tpm: Tpm,
  object: Reference,
  creation: Creation,
  key: Reference,
  qualifyingData: Uint8Array,
  protection: Protection = {},
): Promise<Attested> {
  const parameters = new Writer();
  writeSized(parameters, qualifyingData);
  writeSized(parameters, creation.hash).u16(ALG.null);
  const response = await tpm.execute({
    name: 'TPM2_CertifyCreation',
    code: 0x14a,
    handles: [key, object],
    ...protect(protection, 1),
    parameters: writeTicket(parameters, creation.ticket).finish(),
  });
  return attested(response.parameters);
}

/** TPM2_NV_Certify (Part 3 section 31.16): `key` says what an index holds. Authorizations: key, index (or owner). */
export async function nvCertify(
  tpm: Tpm,
  nv: NvPublic,
  key: Reference,
  qualifyingData: Uint8Array,
  protection: NvProtection = {},
): Promise<Attested> {
  const index = nvReference(nv);
  const parameters = writeSized(new Writer(), qualifyingData).u16(ALG.null).u16(nv.dataSize).u16(0);
  const response = await tpm.execute({
    name: 'TPM2_NV_Certify',
    code: 0x184,
    handles: [key, protection.by === 'index' ? index : HANDLE.owner, index],
    ...protect(protection, 2),
    parameters: parameters.finish(),
  });
  return attested(response.parameters);
}

function attested(reader: Reader): Attested {
  const attest = copySized(reader, 4096, 'The attestation');
  return { attest, signature: reader.rest().slice() };
}
