import { KallioError, Reader, Writer } from '@kallio/codec';
import { readSized, type SavedContext, writeSized } from '../../src/structures/index.ts';

/** A TPM2B, as tpm2-tools keep public and private areas. */
export function sizedFile(bytes: Uint8Array): Uint8Array {
  return writeSized(new Writer(), bytes).finish();
}

/** The contents of a TPM2B. */
export function fromSizedFile(bytes: Uint8Array): Uint8Array {
  const reader = new Reader(bytes);
  const contents = readSized(reader, 2048, 'The file').slice();
  reader.end();
  return contents;
}

const MAGIC = 0xbadc_c0de;

/**
 * A context file of tpm2-tools: magic, version 1, hierarchy, handle, sequence, then a TPM2B that holds four reserved bytes,
 * the TPM's own blob and what the tools' library remembers beside it.
 */
export interface ContextFile {
  readonly context: SavedContext;
  readonly beside: Uint8Array;
}

export function parseContextFile(bytes: Uint8Array): ContextFile {
  const reader = new Reader(bytes);
  if (reader.u32() !== MAGIC || reader.u32() !== 1) throw new KallioError('TPM_STRUCTURE', 'no context file');
  const hierarchy = reader.u32();
  const savedHandle = reader.u32();
  const sequence = reader.u64();
  const inner = new Reader(readSized(reader, 8192, 'The context'));
  reader.end();
  inner.u32();
  const blob = readSized(inner, 8192, 'The blob').slice();
  return { context: { sequence, savedHandle, hierarchy, blob }, beside: inner.rest().slice() };
}

export function contextFile({ context, beside }: ContextFile): Uint8Array {
  const inner = writeSized(new Writer().u32(0), context.blob).bytes(beside).finish();
  const writer = new Writer().u32(MAGIC).u32(1).u32(context.hierarchy).u32(context.savedHandle);
  return writeSized(writer.u64(context.sequence), inner).finish();
}
