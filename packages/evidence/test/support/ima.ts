import { createHash } from 'node:crypto';
import { concat, toHex, utf8 } from '@kallio/codec';
import { decodeImaEntry, type ImaMeasurement, imaStart, readImaLog, replayIma } from '../../src/index.ts';
import { u32le } from './bytes.ts';

// IMA entries as the kernel writes them, made here without the code that reads them, and how that code reads them.

export interface Made {
  readonly template: string;
  /** The template's fields, each without its length. */
  readonly fields: readonly Uint8Array[];
  readonly pcr?: number;
  /** The SHA-1 template digest is zero: the kernel could not vouch for the measurement. */
  readonly violation?: boolean;
}

/** `d-ng`: algorithm, colon, zero, digest. */
export function digestField(algorithm: string, digest: Uint8Array): Uint8Array {
  return concat(utf8(`${algorithm}:\0`), digest);
}

/** `n-ng`: the name and a zero. */
export function nameField(name: string): Uint8Array {
  return concat(utf8(name), new Uint8Array(1));
}

/** What the kernel hashes. */
function dataOf({ template, fields }: Made): Uint8Array {
  if (template === 'ima') {
    const [digest = new Uint8Array(), name = new Uint8Array()] = fields;
    return concat(digest, name, new Uint8Array(256 - name.length));
  }
  return concat(...fields.map((field) => concat(u32le(field.length), field)));
}

/** An entry of the binary list. */
export function binaryEntry(made: Made): Uint8Array {
  const { template, fields, pcr = 10 } = made;
  const head = concat(u32le(pcr), sha1Of(made), u32le(template.length), utf8(template));
  if (template === 'ima') {
    const [digest = new Uint8Array(), name = new Uint8Array()] = fields;
    return concat(head, digest, u32le(name.length), name);
  }
  const data = dataOf(made);
  return concat(head, u32le(data.length), data);
}

/** A line of the ASCII list, from what the kernel prints for each field. */
export function textEntry(made: Made, printed: readonly string[]): string {
  return `${made.pcr ?? 10} ${toHex(sha1Of(made))} ${made.template} ${printed.join(' ')}\n`;
}

function sha1Of(made: Made): Uint8Array {
  if (made.violation === true) return new Uint8Array(20);
  return new Uint8Array(createHash('sha1').update(dataOf(made)).digest());
}

/** PCR 10 after these entries, by the rule and not by the code that is tested. */
export function pcrAfter(bank: string, entries: readonly Made[], start?: Uint8Array): string {
  const size = createHash(bank).digest().length;
  let value = start ?? new Uint8Array(size);
  for (const made of entries) {
    const digest =
      made.violation === true
        ? new Uint8Array(size).fill(0xff)
        : createHash(bank).update(dataOf(made)).digest();
    value = new Uint8Array(createHash(bank).update(value).update(digest).digest());
  }
  return toHex(value);
}

/** Where each entry of a list begins, and where the list ends. Trusts the list: for our own fixtures, not template `ima`. */
export function entryOffsets(list: Uint8Array): number[] {
  const view = new DataView(list.buffer, list.byteOffset, list.length);
  const offsets = [0];
  for (let at = 0; at < list.length; ) {
    const data = at + 28 + view.getUint32(at + 24, true);
    at = data + 4 + view.getUint32(data, true);
    offsets.push(at);
  }
  return offsets;
}

/** PCR 10 (SHA-256) that a list leads to. */
export function pcr10(list: Uint8Array): string {
  return toHex(replayIma(imaStart('sha256'), readImaLog(list), 'sha256').pcr);
}

/** What a list says, as text, as far as a replay proves it. */
export function said(list: Uint8Array): string {
  return [...readImaLog(list)]
    .map((entry) => {
      const { name, digest } = decodeImaEntry(entry);
      return `${entry.index} ${entry.violation} ${digest.type} ${digest.algorithm} ${toHex(digest.bytes)} ${name}`;
    })
    .join('\n');
}

/** A measurement with everything that is read only where somebody asks. */
export function written({ name, digest: { algorithm, type, bytes }, fields }: ImaMeasurement) {
  return { name, digest: { algorithm, type, bytes }, fields };
}
