import { KallioError, Reader, toHex } from '@kallio/codec';
import { readGuid } from './guid.ts';
import { utf16 } from './text.ts';

const MAX_NODES = 256;
const END = 0x7f;
const END_ENTIRE = 0xff;

/**
 * A device path as text, in the form of UEFI 2.10 section 10.6.1.6, a node after the other; a node of a kind that is not
 * known here is `Path(type,subtype,bytes)`. What follows the path’s end is left unread: some loaders make room for more
 * than they fill. Errors are `CODEC_…`.
 */
export function devicePathText(bytes: Uint8Array): string {
  return readPath(new Reader(bytes));
}

/** Device paths that stand one after the other, as in a boot option. */
export function devicePathTexts(bytes: Uint8Array): string[] {
  const reader = new Reader(bytes);
  const paths: string[] = [];
  while (reader.remaining > 0) paths.push(readPath(reader));
  return paths;
}

/** Reads up to the node that ends the path, or to the end of the bytes. */
function readPath(reader: Reader): string {
  const nodes: string[] = [];
  while (reader.remaining > 0) {
    const type = reader.u8();
    const subtype = reader.u8();
    const size = reader.u16le();
    // Stops a node of no bytes, which never ends.
    if (size < 4) throw new KallioError('CODEC_RANGE', `A device path’s node can’t have ${size} bytes.`);
    const node = reader.bytes(size - 4, 'A device path’s node');
    if (type === END && subtype === END_ENTIRE) break;
    nodes.push(type === END ? ',' : nodeText(type, subtype, node));
    if (nodes.length > MAX_NODES) throw new KallioError('CODEC_RANGE', 'A device path has too many nodes.');
  }
  return nodes.join('/');
}

/** Text of a node (UEFI 2.10, section 10.3), for those that stand in boot logs. */
function nodeText(type: number, subtype: number, data: Uint8Array): string {
  try {
    const reader = new Reader(data);
    const text = NODES.get((type << 8) | subtype)?.(reader);
    if (text !== undefined) return text;
  } catch (cause) {
    // A node too short for its kind is shown as it is: it describes, and nothing is judged by it.
    if (!(cause instanceof KallioError)) throw cause;
  }
  return `Path(${type},${subtype},${toHex(data)})`;
}

const NODES: ReadonlyMap<number, (node: Reader) => string> = new Map<number, (node: Reader) => string>([
  [0x0101, pci],
  [0x0103, (node) => `MemoryMapped(${node.u32le()},${hex(node.u64le())},${hex(node.u64le())})`],
  [0x0104, (node) => vendor('VenHw', node)],
  [0x0201, acpi],
  [0x0301, (node) => `Ata(${node.u8()},${node.u8()},${node.u16le()})`],
  [0x0302, scsi],
  [0x0305, usb],
  [0x030a, (node) => vendor('VenMsg', node)],
  [0x030b, (node) => `MAC(${toHex(node.bytes(32).subarray(0, 6))},${hex(node.u8())})`],
  [0x030c, (node) => `IPv4(${node.bytes(4).join('.')}-${node.bytes(4).join('.')})`],
  [0x030d, (node) => `IPv6(${toHex(node.bytes(16))}-${toHex(node.bytes(16))})`],
  [0x0312, (node) => `Sata(${hex(node.u16le())},${hex(node.u16le())},${hex(node.u16le())})`],
  [0x0317, (node) => `NVMe(${hex(node.u32le())},${toHex(node.bytes(8).toReversed())})`],
  [0x0318, (node) => `Uri(${Buffer.from(node.rest()).toString('latin1')})`],
  [0x031a, (node) => `SD(${node.u8()})`],
  [0x031d, (node) => `eMMC(${node.u8()})`],
  [0x0401, hardDrive],
  [0x0402, (node) => `CDROM(${node.u32le()},${hex(node.u64le())},${hex(node.u64le())})`],
  [0x0403, (node) => vendor('VenMedia', node)],
  [0x0404, (node) => utf16(node.rest()).replace(/\0+$/, '')],
  [0x0406, (node) => `FvFile(${readGuid(node)})`],
  [0x0407, (node) => `Fv(${readGuid(node)})`],
  [0x0408, (node) => `Offset(${node.u32le()},${hex(node.u64le())},${hex(node.u64le())})`],
]);

/** HARDDRIVE_DEVICE_PATH (section 10.3.5.1). */
function hardDrive(node: Reader): string {
  const partition = node.u32le();
  const start = node.u64le();
  const size = node.u64le();
  const id = node.bytes(16);
  node.u8('The partition table’s format');
  const kind = node.u8();
  const name = kind === 2 ? readGuid(new Reader(id)) : hex(new Reader(id).u32le());
  return `HD(${partition},${kind === 2 ? 'GPT' : 'MBR'},${name},${hex(start)},${hex(size)})`;
}

function pci(node: Reader): string {
  const function_ = node.u8();
  return `Pci(${hex(node.u8())},${hex(function_)})`;
}

function acpi(node: Reader): string {
  const hid = node.u32le();
  const uid = node.u32le();
  const isPnp = (hid & 0xffff) === 0x41d0;
  if (isPnp && (hid >>> 16 === 0x0a03 || hid >>> 16 === 0x0a08)) {
    return `${hid >>> 16 === 0x0a03 ? 'PciRoot' : 'PcieRoot'}(${hex(uid)})`;
  }
  return `Acpi(${isPnp ? `PNP${(hid >>> 16).toString(16).toUpperCase().padStart(4, '0')}` : hex(hid)},${hex(uid)})`;
}

function scsi(node: Reader): string {
  return `Scsi(${hex(node.u16le())},${hex(node.u16le())})`;
}

function usb(node: Reader): string {
  return `USB(${hex(node.u8())},${hex(node.u8())})`;
}

function vendor(name: string, node: Reader): string {
  const guid = readGuid(node);
  return node.remaining === 0 ? `${name}(${guid})` : `${name}(${guid},${toHex(node.rest())})`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
