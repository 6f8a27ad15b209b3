import { KallioError, Writer } from '@kallio/codec';
import type { TpmCode } from './structures/error.ts';

/**
 * What a command is about: a handle, with the Name of what is behind it. A session's HMAC covers Names, so that a bus
 * interposer can't put another object behind the same handle; sessions therefore want the Name of an object or NV index.
 */
export type Reference = number | { readonly handle: number; readonly name?: Uint8Array };

/** The handle of a reference. */
export function handleOf(reference: Reference): number {
  return typeof reference === 'number' ? reference : reference.handle;
}

/** Handle types whose Name is the handle itself: PCR, HMAC session, policy session, permanent (Part 1 section 16). */
const NAMED_BY_HANDLE: ReadonlySet<number> = new Set([0x00, 0x02, 0x03, 0x40]);

/** The Name of a reference (Part 1 section 16); `TPM_NAME_UNKNOWN` for an object or NV index without one. */
export function entityName(reference: Reference): Uint8Array {
  const handle = handleOf(reference);
  if (NAMED_BY_HANDLE.has(handle >>> 24)) return new Writer(4).u32(handle).finish();
  const name = typeof reference === 'number' ? undefined : reference.name;
  if (name === undefined) {
    throw new KallioError<TpmCode>(
      'TPM_NAME_UNKNOWN',
      `A session can’t protect a command about 0x${handle.toString(16)}: its Name is not given.`,
      { hint: 'Give { handle, name }, with a Name that was not just read over the same bus.' },
    );
  }
  return name;
}
