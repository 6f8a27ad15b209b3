import { Reader } from '@kallio/codec';
import { readGuid } from './guid.ts';
import { utf16 } from './text.ts';

/** UEFI_GPT_DATA (PC Client Platform Firmware Profile 1.06, section 10.2): the boot disk’s partitions. */
export interface PartitionTable {
  readonly disk: string;
  readonly partitions: readonly Partition[];
}

/** A GPT partition entry that is in use (UEFI 2.10, section 5.3.3). */
export interface Partition {
  readonly type: string;
  readonly id: string;
  readonly firstBlock: bigint;
  readonly lastBlock: bigint;
  readonly name: string;
}

const HEADER_BYTES = 92;
const ENTRY_BYTES = 128;

/** Reads UEFI_GPT_DATA: the GPT header (UEFI 2.10, section 5.3.2), a count, and so many entries. Errors are `CODEC_…`. */
export function readPartitionTable(bytes: Uint8Array): PartitionTable {
  const reader = new Reader(bytes);
  const header = new Reader(reader.bytes(HEADER_BYTES, 'The GPT header'));
  header.bytes(56);
  const disk = readGuid(header, 'The disk’s GUID');
  const count = Number(reader.u64le('The number of partitions'));
  // The entries are taken in one piece first: a count that does not fit makes nothing be allocated.
  const entries = new Reader(reader.bytes(count * ENTRY_BYTES, 'The partitions'));
  reader.end('A partition table’s event');
  return { disk, partitions: Array.from({ length: count }, () => readPartition(entries)) };
}

function readPartition(reader: Reader): Partition {
  const type = readGuid(reader);
  const id = readGuid(reader);
  const firstBlock = reader.u64le();
  const lastBlock = reader.u64le();
  reader.u64le('The partition’s attributes');
  const name = utf16(reader.bytes(72, 'The partition’s name')).replace(/\0.*$/s, '');
  return { type, id, firstBlock, lastBlock, name };
}
