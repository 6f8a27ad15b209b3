import { concat, Reader, Writer } from '@kallio/codec';
import { NO_PASSWORD } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import { type HashName, hashName } from '../structures/algorithms.ts';
import { readSized } from '../structures/sized.ts';
import { type Tpm, TpmResponseError } from '../tpm.ts';

/** TPMS_NV_PUBLIC (Part 2 section 13.6). */
export interface NvPublic {
  readonly index: number;
  readonly nameAlg: HashName;
  readonly attributes: number;
  readonly authPolicy: Uint8Array;
  readonly dataSize: number;
}

/** Reads at most so much at once: every TPM can (TPM_PT_NV_BUFFER_MAX is 512 and more). */
const CHUNK = 512;
const MAX_NV = 16_384;

/** TPM2_NV_ReadPublic (Part 3 section 31.6); undefined where there is no such index. */
export async function nvReadPublic(tpm: Tpm, index: number): Promise<NvPublic | undefined> {
  try {
    const { parameters } = await tpm.execute({ name: 'TPM2_NV_ReadPublic', code: 0x169, handles: [index] });
    const area = new Reader(readSized(parameters, 256, 'The NV public area'));
    readSized(parameters, 66, 'The NV name');
    parameters.end('TPM2_NV_ReadPublic');
    const read = {
      index: area.u32('The NV index'),
      nameAlg: hashName(area.u16('The NV name algorithm')),
      attributes: area.u32('The NV attributes'),
      authPolicy: readSized(area, 64, 'The NV policy').slice(),
      dataSize: area.u16('The NV size'),
    };
    area.end('A TPMS_NV_PUBLIC');
    return read;
  } catch (error) {
    // TPM_RC_HANDLE about the first handle: not defined.
    if (error instanceof TpmResponseError && error.responseCode === 0x18b) return undefined;
    throw error;
  }
}

/** All of an index, by TPM2_NV_Read (Part 3 section 31.13) with the owner's empty authorization. */
export async function nvRead(tpm: Tpm, nv: NvPublic): Promise<Uint8Array> {
  const size = Math.min(nv.dataSize, MAX_NV);
  const parts: Uint8Array[] = [];
  for (let offset = 0; offset < size; offset += CHUNK) {
    const response = await tpm.execute({
      name: 'TPM2_NV_Read',
      code: 0x14e,
      handles: [HANDLE.owner, nv.index],
      authorizations: [NO_PASSWORD],
      parameters: new Writer(4)
        .u16(Math.min(CHUNK, size - offset))
        .u16(offset)
        .finish(),
    });
    parts.push(readSized(response.parameters, CHUNK, 'The NV data').slice());
    response.parameters.end('TPM2_NV_Read');
  }
  return concat(...parts);
}
