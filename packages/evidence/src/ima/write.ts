import { hash } from 'node:crypto';
import { concat, utf8 } from '@kallio/codec';
import type { ImaEntry } from './entry.ts';

const SHA1_BYTES = 20;

/** Writes entries as the kernel’s binary list (see {@link readImaLog}): what a text list was read into can travel so. */
export function writeImaLog(entries: Iterable<ImaEntry>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { pcr, template, violation, data } of entries) {
    const digest = violation ? new Uint8Array(SHA1_BYTES) : hash('sha1', data, 'buffer');
    parts.push(u32le(pcr), digest, u32le(template.length), utf8(template), ...body(template, data));
  }
  return concat(...parts);
}

/** The template `ima` is hashed with its name padded, and travels with its name’s length. */
function body(template: string, data: Uint8Array): Uint8Array[] {
  if (template !== 'ima') return [u32le(data.length), data];
  const padded = data.subarray(SHA1_BYTES);
  const end = padded.indexOf(0);
  const name = end === -1 ? padded : padded.subarray(0, end);
  return [data.subarray(0, SHA1_BYTES), u32le(name.length), name];
}

function u32le(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
