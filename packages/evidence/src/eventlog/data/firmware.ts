import { KallioError, Reader } from '@kallio/codec';
import { devicePathText } from './device-path.ts';
import { readGuid } from './guid.ts';

/** UEFI_IMAGE_LOAD_EVENT: an image that was loaded. What was hashed is the image, which is not in the log. */
export interface ImageLoad {
  readonly address: bigint;
  readonly length: bigint;
  readonly linkTimeAddress: bigint;
  /** Where it came from, as a device path’s text; empty where the firmware does not say. */
  readonly path: string;
}

/** UEFI_PLATFORM_FIRMWARE_BLOB, or BLOB2 with its description. */
export interface FirmwareBlob {
  readonly description?: string;
  readonly base: bigint;
  readonly length: bigint;
}

/** UEFI_HANDOFF_TABLE_POINTERS, or POINTERS2 with its description. */
export interface HandoffTables {
  readonly description?: string;
  readonly tables: readonly { readonly guid: string; readonly address: bigint }[];
}

// Structures of the PC Client Platform Firmware Profile 1.06, section 10.2. Errors are `CODEC_…`.

/** Bytes after the path are left unread: shim (lib/tpm.c) makes room for more than it fills. */
export function readImageLoad(bytes: Uint8Array): ImageLoad {
  const reader = new Reader(bytes);
  const address = reader.u64le('The image’s address');
  const length = reader.u64le('The image’s length');
  const linkTimeAddress = reader.u64le('The image’s link-time address');
  const size = Number(reader.u64le('The length of the device path'));
  const path = devicePathText(reader.bytes(size, 'The device path'));
  return { address, length, linkTimeAddress, path };
}

export function readFirmwareBlob(bytes: Uint8Array): FirmwareBlob {
  const reader = new Reader(bytes);
  const blob = { base: reader.u64le(), length: reader.u64le() };
  reader.end('A firmware blob’s event');
  return blob;
}

export function readFirmwareBlob2(bytes: Uint8Array): FirmwareBlob {
  const reader = new Reader(bytes);
  const description = readDescription(reader);
  return { description, ...readFirmwareBlob(reader.rest()) };
}

export function readHandoffTables(bytes: Uint8Array): HandoffTables {
  const reader = new Reader(bytes);
  const count = reader.u64le('The number of tables');
  // Stops a count from making room for tables that are not there.
  if (count * 24n !== BigInt(reader.remaining)) {
    throw new KallioError('CODEC_RANGE', `${count} tables don’t fill ${reader.remaining} bytes.`);
  }
  const tables = Array.from({ length: Number(count) }, () => ({
    guid: readGuid(reader),
    address: reader.u64le(),
  }));
  return { tables };
}

export function readHandoffTables2(bytes: Uint8Array): HandoffTables {
  const reader = new Reader(bytes);
  const description = readDescription(reader);
  return { description, ...readHandoffTables(reader.rest()) };
}

function readDescription(reader: Reader): string {
  const bytes = reader.bytes(reader.u8('The length of a description'), 'A description');
  return Buffer.from(bytes).toString('latin1').replace(/\0+$/, '');
}
