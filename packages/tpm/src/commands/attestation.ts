import { type Reader, Writer } from '@kallio/codec';
import { NO_PASSWORD } from '../authorization.ts';
import { ALG } from '../structures/algorithms.ts';
import { type PcrSelection, writePcrSelections } from '../structures/pcr-selection.ts';
import { readSized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPMS_ATTEST and TPMT_SIGNATURE, as the TPM marshals them. */
export interface Attested {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

/** TPM2_Quote (Part 3 section 18.4), by a key that names its scheme. */
export async function quote(
  tpm: Tpm,
  key: number,
  qualifyingData: Uint8Array,
  selections: readonly PcrSelection[],
): Promise<Attested> {
  const parameters = new Writer();
  writeSized(parameters, qualifyingData).u16(ALG.null);
  writePcrSelections(parameters, selections);
  const response = await tpm.execute({
    name: 'TPM2_Quote',
    code: 0x158,
    handles: [key],
    authorizations: [NO_PASSWORD],
    parameters: parameters.finish(),
  });
  return attested(response.parameters);
}

/** TPM2_Certify (Part 3 section 18.2): `key` says that `object` is loaded in the same TPM. */
export async function certify(
  tpm: Tpm,
  object: number,
  key: number,
  qualifyingData: Uint8Array,
): Promise<Attested> {
  const parameters = new Writer();
  writeSized(parameters, qualifyingData).u16(ALG.null);
  const response = await tpm.execute({
    name: 'TPM2_Certify',
    code: 0x148,
    handles: [object, key],
    authorizations: [NO_PASSWORD, NO_PASSWORD],
    parameters: parameters.finish(),
  });
  return attested(response.parameters);
}

function attested(reader: Reader): Attested {
  const attest = readSized(reader, 4096, 'The attestation').slice();
  return { attest, signature: reader.rest().slice() };
}
