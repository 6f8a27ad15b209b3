import { concat, Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import type { Reference } from '../reference.ts';
import {
  marshalNvPublic,
  NV_ATTRIBUTE,
  type NvPublic,
  nvName,
  parseNvPublic,
} from '../structures/nv-public.ts';
import { copySized, readSized, writeSized } from '../structures/sized.ts';
import { type Tpm, TpmResponseError } from '../tpm.ts';

/** Reads and writes at most so much at once: every TPM can (TPM_PT_NV_BUFFER_MAX is 512 and more). */
const CHUNK = 512;
const MAX_NV = 16_384;

/** Whose authorization a command on an NV index uses: the owner's by default, or the index's own. */
export interface NvProtection extends Protection {
  readonly by?: 'owner' | 'index';
}

/** TPM2_NV_ReadPublic (Part 3 section 31.6); undefined where there is no such index. */
export async function nvReadPublic(tpm: Tpm, index: number): Promise<NvPublic | undefined> {
  try {
    const { parameters } = await tpm.execute({ name: 'TPM2_NV_ReadPublic', code: 0x169, handles: [index] });
    const area = parseNvPublic(readSized(parameters, 256, 'The NV public area'));
    readSized(parameters, 66, 'The NV name');
    parameters.end('TPM2_NV_ReadPublic');
    return area;
  } catch (error) {
    // TPM_RC_HANDLE about the first handle: not defined.
    if (error instanceof TpmResponseError && error.responseCode === 0x18b) return undefined;
    throw error;
  }
}

/** TPM2_NV_DefineSpace (Part 3 section 31.3), by the owner. `auth` is the index's own authorization value. */
export async function nvDefineSpace(
  tpm: Tpm,
  nv: NvPublic,
  auth: Uint8Array = new Uint8Array(0),
  protection: Protection = {},
): Promise<void> {
  const parameters = writeSized(writeSized(new Writer(), auth), marshalNvPublic(nv)).finish();
  const response = await tpm.execute({
    name: 'TPM2_NV_DefineSpace',
    code: 0x12a,
    handles: [HANDLE.owner],
    ...protect(protection, 1),
    parameters,
  });
  response.parameters.end('TPM2_NV_DefineSpace');
}

/** TPM2_NV_UndefineSpace (Part 3 section 31.4), by the owner. */
export async function nvUndefineSpace(tpm: Tpm, nv: NvPublic, protection: Protection = {}): Promise<void> {
  const response = await tpm.execute({
    name: 'TPM2_NV_UndefineSpace',
    code: 0x122,
    handles: [HANDLE.owner, nvReference(nv)],
    ...protect(protection, 1),
  });
  response.parameters.end('TPM2_NV_UndefineSpace');
}

/** All of an index, by TPM2_NV_Read (Part 3 section 31.13). */
export async function nvRead(tpm: Tpm, nv: NvPublic, protection: NvProtection = {}): Promise<Uint8Array> {
  const size = Math.min(nv.dataSize, MAX_NV);
  const parts: Uint8Array[] = [];
  for (let offset = 0; offset < size; offset += CHUNK) {
    const response = await tpm.execute({
      name: 'TPM2_NV_Read',
      code: 0x14e,
      handles: nvHandles(nv, protection),
      ...protect(protection, 1),
      parameters: new Writer(4)
        .u16(Math.min(CHUNK, size - offset))
        .u16(offset)
        .finish(),
    });
    parts.push(copySized(response.parameters, CHUNK, 'The NV data'));
    response.parameters.end('TPM2_NV_Read');
  }
  return concat(...parts);
}

/**
 * Writes an index from its beginning, by TPM2_NV_Write (Part 3 section 31.7). Gives its public area of then: the first
 * write changes its Name.
 */
export async function nvWrite(
  tpm: Tpm,
  nv: NvPublic,
  data: Uint8Array,
  protection: NvProtection = {},
): Promise<NvPublic> {
  let now = nv;
  for (let offset = 0; offset < data.length; offset += CHUNK) {
    const part = data.subarray(offset, offset + CHUNK);
    const response = await tpm.execute({
      name: 'TPM2_NV_Write',
      code: 0x137,
      handles: nvHandles(now, protection),
      ...protect(protection, 1),
      parameters: writeSized(new Writer(CHUNK + 4), part)
        .u16(offset)
        .finish(),
    });
    response.parameters.end('TPM2_NV_Write');
    now = written(nv);
  }
  return now;
}

/** TPM2_NV_Extend (Part 3 section 31.9): the index becomes hash(its value ‖ data). Gives its public area of then. */
export async function nvExtend(
  tpm: Tpm,
  nv: NvPublic,
  data: Uint8Array,
  protection: NvProtection = {},
): Promise<NvPublic> {
  const response = await tpm.execute({
    name: 'TPM2_NV_Extend',
    code: 0x136,
    handles: nvHandles(nv, protection),
    ...protect(protection, 1),
    parameters: writeSized(new Writer(), data).finish(),
  });
  response.parameters.end('TPM2_NV_Extend');
  return written(nv);
}

/** The index as a command's handle, with its Name. */
export function nvReference(nv: NvPublic): { handle: number; name: Uint8Array } {
  return { handle: nv.index, name: nvName(nv) };
}

/** Who authorizes, and the index. */
function nvHandles(nv: NvPublic, protection: NvProtection): readonly Reference[] {
  const index = nvReference(nv);
  return [protection.by === 'index' ? index : HANDLE.owner, index];
}

function written(nv: NvPublic): NvPublic {
  return { ...nv, attributes: (nv.attributes | NV_ATTRIBUTE.written) >>> 0 };
}
