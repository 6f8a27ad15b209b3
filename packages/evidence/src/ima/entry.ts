import { fromUtf8, KallioError, toHex } from '@kallio/codec';
import { evidenceError } from '../error.ts';
import { templateFields } from './template.ts';

/** An entry of an IMA measurement list, as far as a replay needs it. */
export interface ImaEntry {
  /** Place in the list of this boot, from 0. */
  readonly index: number;
  readonly pcr: number;
  readonly template: string;
  /**
   * True when the kernel could not vouch for the measurement (the file was open for writing). Such an entry extends the
   * PCR with all ones, whatever it says: **nothing in it is authenticated**, not even the name.
   */
  readonly violation: boolean;
  /** The template's data as it is hashed. Authenticated, every byte, by a replay; except of a violation. */
  readonly data: Uint8Array;
}

/** What an entry measures. */
export interface ImaMeasurement {
  /** The file's path, or the name of a buffer. Bytes that are not UTF-8 are written `\xNN`. */
  readonly name: string;
  readonly digest: {
    /** As the kernel names it: `sha1`, `sha256`, `sha512`, … */
    readonly algorithm: string;
    /** Hexadecimal. */
    readonly value: string;
    /** `verity` for the digest of an fs-verity file, which is not that of its bytes. */
    readonly type: 'ima' | 'verity';
  };
  /** Other fields of the template that have content, by the kernel's names. */
  readonly fields: ReadonlyMap<string, Uint8Array>;
}

const IMA_NAME_BYTES = 256;
const SHA1_BYTES = 20;

/** Decodes the data of an entry. Errors are `IMA_MALFORMED` or `IMA_TEMPLATE`, pointing to the entry. */
export function decodeImaEntry(entry: ImaEntry): ImaMeasurement {
  const pointer = `ima:${entry.index}`;
  const names = templateFields(entry.template, pointer);
  const values = entry.template === 'ima' ? oldFields(entry.data) : sizedFields(entry, names.length);
  const fields = new Map<string, Uint8Array>();
  let name: string | undefined;
  let digest: ImaMeasurement['digest'] | undefined;
  for (const [i, field] of names.entries()) {
    const value = values[i];
    if (value === undefined) throw malformed(pointer, 'a field is missing');
    if (field === 'd' || field === 'd-ng' || field === 'd-ngv2') digest ??= digestOf(field, value, pointer);
    else if (field === 'n' || field === 'n-ng') name ??= nameOf(value);
    else if (value.length > 0) fields.set(field, value);
  }
  if (name === undefined || digest === undefined) {
    throw evidenceError('IMA_TEMPLATE', 'This entry’s template has no name or no digest.', { pointer });
  }
  return { name, digest, fields };
}

/** The one template without lengths: 20 bytes of digest, and a name that is hashed padded with zeros to 256 bytes. */
function oldFields(data: Uint8Array): Uint8Array[] {
  return [data.subarray(0, SHA1_BYTES), data.subarray(SHA1_BYTES, SHA1_BYTES + IMA_NAME_BYTES)];
}

function sizedFields({ data, index }: ImaEntry, count: number): Uint8Array[] {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const fields: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = at + 4 <= data.length ? at + 4 + view.getUint32(at, true) : Number.POSITIVE_INFINITY;
    if (end > data.length) throw malformed(`ima:${index}`, 'a field ends after its entry');
    fields.push(data.subarray(at + 4, end));
    at = end;
  }
  // Stops a field that nobody reads from travelling in a measured entry.
  if (at !== data.length) throw malformed(`ima:${index}`, 'more fields than its template has');
  return fields;
}

/** `d`: SHA-1. `d-ng`: `<algorithm>:\0<digest>`. `d-ngv2`: `<type>:<algorithm>:\0<digest>`. */
function digestOf(
  field: 'd' | 'd-ng' | 'd-ngv2',
  value: Uint8Array,
  pointer: string,
): ImaMeasurement['digest'] {
  if (field === 'd') return { algorithm: 'sha1', value: toHex(value), type: 'ima' };
  const zero = value.indexOf(0);
  if (zero < 1 || zero > 64 || value[zero - 1] !== 0x3a)
    throw malformed(pointer, 'its digest names no algorithm');
  const prefix = Buffer.from(value.subarray(0, zero - 1))
    .toString('latin1')
    .split(':');
  const algorithm = prefix.at(-1) ?? '';
  const type = field === 'd-ng' ? 'ima' : prefix[0];
  if (prefix.length !== (field === 'd-ng' ? 1 : 2) || (type !== 'ima' && type !== 'verity')) {
    throw malformed(pointer, 'its digest is of no known type');
  }
  if (!/^[a-z0-9-]{1,32}$/.test(algorithm)) throw malformed(pointer, 'its digest names no algorithm');
  return { algorithm, value: toHex(value.subarray(zero + 1)), type };
}

/** A name without its closing zero. */
function nameOf(value: Uint8Array): string {
  const zero = value.indexOf(0);
  const bytes = zero === -1 ? value : value.subarray(0, zero);
  try {
    return fromUtf8(bytes);
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return Array.from(bytes, (byte) =>
      byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
    ).join('');
  }
}

function malformed(pointer: string, why: string) {
  return evidenceError('IMA_MALFORMED', `An entry of the IMA log can’t be read: ${why}.`, { pointer });
}
