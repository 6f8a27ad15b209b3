import { MAX_NAME, malformed, text, tooLong } from './block.ts';

/** What an extended header says of the next entry that concerns a file manifest; everything else is passed over. */
export interface Pax {
  readonly path?: string;
  readonly linkpath?: Uint8Array;
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
}

const SPACE = 0x20;
const EQUALS = 0x3d;
const NEWLINE = 0x0a;

/** Reads the records `LENGTH KEY=VALUE\n` of an extended header (POSIX.1-2017 pax, "pax Extended Header"), the last of a key. */
export function readPax(bytes: Buffer): Pax {
  const pax: { -readonly [Key in keyof Pax]: Pax[Key] } = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(SPACE, at);
    const digits = space < 0 || space - at > 8 ? '' : bytes.toString('latin1', at, space);
    const end = /^[1-9][0-9]*$/.test(digits) ? at + Number(digits) : 0;
    const equals = bytes.indexOf(EQUALS, space);
    // The shortest record holds a key of one letter and no value.
    if (end > bytes.length || equals <= space + 1 || equals >= end - 1 || bytes[end - 1] !== NEWLINE) {
      throw malformed('an extended header is malformed');
    }
    const key = bytes.toString('latin1', space + 1, equals);
    take(pax, key, bytes.subarray(equals + 1, end - 1));
    at = end;
  }
  return pax;
}

function take(pax: { -readonly [Key in keyof Pax]: Pax[Key] }, key: string, value: Buffer): void {
  // Attack: a file with holes, which one reader unpacks and another takes for what describes the holes.
  if (key.startsWith('GNU.sparse.')) throw malformed('a file in it is sparse');
  // An empty value is none: the header itself says what holds.
  if (value.length === 0) return;
  switch (key) {
    case 'path':
      pax.path = text(nameOf(value));
      return;
    case 'linkpath':
      // Copied: the header's bytes are not kept.
      pax.linkpath = Buffer.from(nameOf(value));
      return;
    case 'size':
    case 'uid':
    case 'gid':
      pax[key] = numberOf(value);
  }
}

function nameOf(value: Buffer): Buffer {
  if (value.length > MAX_NAME) throw tooLong();
  if (value.includes(0)) throw malformed('a name in an extended header has a zero in it');
  return value;
}

function numberOf(value: Buffer): number {
  const digits = value.length > 16 ? '' : value.toString('latin1');
  const number = Number(digits);
  if (!/^[0-9]+$/.test(digits) || !Number.isSafeInteger(number)) {
    throw malformed('a number in an extended header is none');
  }
  return number;
}
