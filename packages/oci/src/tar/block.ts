import { isUtf8 } from 'node:buffer';
import { ociError } from '../error.ts';

/** Length of a header block, and what contents are padded to. */
export const BLOCK = 512;
/** Longest name or link, in bytes: PATH_MAX. */
export const MAX_NAME = 4096;

/** What an entry is. Of no other kind, runtimes unpack anything. */
export type EntryType = 'file' | 'link' | 'symlink' | 'device' | 'directory' | 'fifo';
/** A header about the next header, or (`pax-global`) about all that follow. */
export type MetaType = 'pax' | 'pax-global' | 'gnu-name' | 'gnu-link';

/** A header block (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"). */
export interface Block {
  readonly type: EntryType | MetaType;
  readonly name: string;
  /** Of a link: what it leads to, as it stands there. */
  readonly link: Uint8Array;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of what follows, in bytes. */
  readonly size: number;
}

const TYPES: ReadonlyMap<number, Block['type']> = new Map([
  [0x00, 'file'],
  [0x30, 'file'],
  [0x31, 'link'],
  [0x32, 'symlink'],
  [0x33, 'device'],
  [0x34, 'device'],
  [0x35, 'directory'],
  [0x36, 'fifo'],
  [0x78, 'pax'],
  [0x67, 'pax-global'],
  [0x4c, 'gnu-name'],
  [0x4b, 'gnu-link'],
]);

/** `ustar`, zero, and `ustar`, two spaces, zero. */
const USTAR = 0x00;
const GNU = 0x20;
const SPACE = 0x20;

/** True for the block of zeros that ends an archive. */
export function isZero(block: Uint8Array): boolean {
  for (const byte of block) if (byte !== 0) return false;
  return true;
}

/**
 * Reads a header block, strictly: a number that is none, a kind of entry that no runtime unpacks, a format that readers
 * disagree about are refused with `OCI_LAYER`.
 */
export function readBlock(block: Buffer): Block {
  if (sumOf(block) !== number(block, 148, 8, 'checksum')) throw malformed('a header has another checksum');
  const type = TYPES.get(block[156] ?? 0);
  // Attack: a sparse file (GNU `S`), which is a regular file to one reader and to another none.
  if (type === undefined) {
    const flag = JSON.stringify(String.fromCharCode(block[156] ?? 0));
    throw malformed(`an entry is of the kind ${flag}, which is not unpacked`);
  }
  return {
    type,
    name: withPrefix(block, text(field(block, 0, 100))),
    link: field(block, 157, 100),
    mode: number(block, 100, 8, 'mode'),
    uid: number(block, 108, 8, 'owner'),
    gid: number(block, 116, 8, 'group'),
    size: number(block, 124, 12, 'size'),
  };
}

/** Text of an archive: UTF-8. Attack: two names that are none would be one name of replacement characters. */
export function text(bytes: Buffer): string {
  for (const byte of bytes) {
    if (byte < 0x80) continue;
    if (isUtf8(bytes)) return bytes.toString('utf8');
    throw ociError(
      'OCI_LAYER_PATH',
      `A layer has a name that is not UTF-8: ${bytes.toString('hex', 0, 100)}.`,
    );
  }
  return bytes.toString('latin1');
}

/** A refusal of an archive. */
export function malformed(why: string): Error {
  return ociError('OCI_LAYER', `This layer is no tar archive that every runtime reads alike: ${why}.`);
}

/** Attack: names that take as much memory as there is. */
export function tooLong(): Error {
  return ociError('OCI_LAYER_PATH', `A layer has a name of more than ${MAX_NAME} bytes.`);
}

/** The bytes of a field before its first zero. */
function field(block: Buffer, at: number, length: number): Buffer {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return block.subarray(at, end);
}

/** All of the block, its checksum taken for spaces. */
function sumOf(block: Uint8Array): number {
  let sum = 8 * SPACE;
  for (let i = 0; i < 148; i++) sum += block[i] ?? 0;
  for (let i = 156; i < BLOCK; i++) sum += block[i] ?? 0;
  return sum;
}

function withPrefix(block: Buffer, name: string): string {
  if (block.toString('latin1', 257, 262) !== 'ustar') throw malformed('a header has no format');
  const format = block[262];
  if (format === USTAR) {
    // Schily's star has a shorter prefix, and times after it.
    if (block.toString('latin1', 508, 512) === 'tar\0') throw malformed('a header is in the format of star');
    const prefix = text(field(block, 345, 155));
    return prefix === '' ? name : `${prefix}/${name}`;
  }
  if (format !== GNU || block[263] !== SPACE || block[264] !== 0) throw malformed('a header has no format');
  // Go before 1.8 wrote a prefix here, and its readers take it for one where these are no times.
  number(block, 345, 12, 'time');
  number(block, 357, 12, 'time');
  return name;
}

/** A number: octal digits, or in base 256 after a byte 0x80. What is negative or past 2^53 is refused. */
function number(block: Buffer, start: number, length: number, what: string): number {
  const end = start + length;
  let value = 0;
  if (block[start] === 0x80) {
    for (let at = start + 1; at < end; at++) value = value * 256 + (block[at] ?? 0);
    if (Number.isSafeInteger(value)) return value;
    throw malformed(`the ${what} in a header is no number`);
  }
  let at = start;
  while (at < end && isBlank(block[at])) at++;
  for (; at < end; at++) {
    const digit = (block[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  while (at < end && isBlank(block[at])) at++;
  if (at < end) throw malformed(`the ${what} in a header is no number`);
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0;
}
