import { Reader, Writer } from '@kallio/codec';
import { copySized, writeSized } from './sized.ts';

/** TPMS_CONTEXT (Part 2 section 14.5): an object or session, encrypted to its TPM for this boot. */
export interface SavedContext {
  readonly sequence: bigint;
  readonly savedHandle: number;
  readonly hierarchy: number;
  readonly blob: Uint8Array;
}

/** The longest response is 4096 bytes and more in some TPMs; a context fits one. */
const MAX_CONTEXT = 8192;

/** Parses a TPMS_CONTEXT; trailing bytes are refused. */
export function parseContext(bytes: Uint8Array): SavedContext {
  const reader = new Reader(bytes);
  const context = {
    sequence: reader.u64('The context’s sequence number'),
    savedHandle: reader.u32('The context’s handle'),
    hierarchy: reader.u32('The context’s hierarchy'),
    blob: copySized(reader, MAX_CONTEXT, 'The context'),
  };
  reader.end('A TPMS_CONTEXT');
  return context;
}

/** Writes a TPMS_CONTEXT. */
export function marshalContext(context: SavedContext): Uint8Array {
  const writer = new Writer().u64(context.sequence).u32(context.savedHandle).u32(context.hierarchy);
  return writeSized(writer, context.blob).finish();
}
