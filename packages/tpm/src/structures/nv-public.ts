import { createHash } from 'node:crypto';
import { concat, Reader, Writer } from '@kallio/codec';
import { type HashName, hashId, hashName } from './algorithms.ts';
import { copySized, writeSized } from './sized.ts';

/** TPMS_NV_PUBLIC (Part 2 section 13.6). */
export interface NvPublic {
  readonly index: number;
  readonly nameAlg: HashName;
  /** TPMA_NV: a sum of {@link NV_ATTRIBUTE}. */
  readonly attributes: number;
  readonly authPolicy: Uint8Array;
  readonly dataSize: number;
}

/** TPMA_NV (Part 2 section 13.4), and the index types (TPM_NT) shifted to where they stand in it. */
export const NV_ATTRIBUTE = {
  ownerWrite: 0x2,
  authWrite: 0x4,
  policyWrite: 0x8,
  extend: 0x40,
  ownerRead: 0x2_0000,
  authRead: 0x4_0000,
  policyRead: 0x8_0000,
  noDA: 0x200_0000,
  written: 0x2000_0000,
  platformCreate: 0x4000_0000,
} as const;

/** Parses a TPMS_NV_PUBLIC; trailing bytes are refused. */
export function parseNvPublic(bytes: Uint8Array): NvPublic {
  const reader = new Reader(bytes);
  const parsed = {
    index: reader.u32('The NV index'),
    nameAlg: hashName(reader.u16('The NV name algorithm')),
    attributes: reader.u32('The NV attributes'),
    authPolicy: copySized(reader, 64, 'The NV policy'),
    dataSize: reader.u16('The NV size'),
  };
  reader.end('A TPMS_NV_PUBLIC');
  return parsed;
}

/** Writes a TPMS_NV_PUBLIC. */
export function marshalNvPublic(nv: NvPublic): Uint8Array {
  const writer = new Writer().u32(nv.index).u16(hashId(nv.nameAlg)).u32(nv.attributes);
  return writeSized(writer, nv.authPolicy).u16(nv.dataSize).finish();
}

/** The Name of an NV index (Part 1 section 16). The first write sets `written`, and so changes it. */
export function nvName(nv: NvPublic): Uint8Array {
  return concat(
    new Writer(2).u16(hashId(nv.nameAlg)).finish(),
    new Uint8Array(createHash(nv.nameAlg).update(marshalNvPublic(nv)).digest()),
  );
}
