import { fromUtf8, KallioError, utf8 } from '@kallio/codec';
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

/** A digest, where it stands in an entry. */
export class ImaDigest {
  /** As the kernel names it: `sha1`, `sha256`, `sha512`, … */
  readonly algorithm: string;
  /** `verity` for the digest of an fs-verity file, which is not that of its bytes. */
  readonly type: 'ima' | 'verity';
  /** The entry's data, from where to where in it. */
  readonly data: Uint8Array;
  readonly start: number;
  readonly end: number;

  constructor(algorithm: string, type: 'ima' | 'verity', data: Uint8Array, start: number, end: number) {
    this.algorithm = algorithm;
    this.type = type;
    this.data = data;
    this.start = start;
    this.end = end;
  }

  /** A view of the entry's data. */
  get bytes(): Uint8Array {
    return view(this.data, this.start, this.end);
  }
}

/**
 * What an entry measures. Almost every entry is of a file that is known: its name is read, and its digest taken out,
 * where somebody asks.
 */
export class ImaMeasurement {
  readonly digest: ImaDigest;
  /** Other fields of the template that have content, by the kernel's names. */
  readonly fields: ReadonlyMap<string, Uint8Array>;
  /** Where the name stands in the entry's data. */
  readonly nameStart: number;
  readonly nameEnd: number;

  constructor(
    digest: ImaDigest,
    nameStart: number,
    nameEnd: number,
    fields: ReadonlyMap<string, Uint8Array>,
  ) {
    this.digest = digest;
    this.nameStart = nameStart;
    this.nameEnd = nameEnd;
    this.fields = fields;
  }

  /** The file's path, or the name of a buffer. Bytes that are not UTF-8 are written `\xNN`. */
  get name(): string {
    return nameOf(this.digest.data, this.nameStart, this.nameEnd);
  }
}

const IMA_NAME_BYTES = 256;
const SHA1_BYTES = 20;
const SHA256_BYTES = 32;
const NO_PREFIX = new Uint8Array();

const NO_FIELDS: ReadonlyMap<string, Uint8Array> = new Map();

/** Decodes the data of an entry. Errors are `IMA_MALFORMED` or `IMA_TEMPLATE`, pointing to the entry. */
export function decodeImaEntry(entry: ImaEntry): ImaMeasurement {
  const { data, template, index } = entry;
  const names = templateFields(template, index);
  let nameStart = -1;
  let nameEnd = -1;
  let digest: ImaDigest | undefined;
  let fields: Map<string, Uint8Array> | undefined;
  let end = 0;
  for (const field of names) {
    let start = end;
    if (template === 'ima') {
      end = field === 'd' ? SHA1_BYTES : SHA1_BYTES + IMA_NAME_BYTES;
    } else {
      start += 4;
      end = start <= data.length ? start + sizeAt(data, start - 4) : Number.POSITIVE_INFINITY;
      if (end > data.length) throw malformed(index, 'a field ends after its entry');
    }
    if (field === 'd' || field === 'd-ng' || field === 'd-ngv2') {
      digest ??= digestOf(field, data, start, end, index);
    } else if (field === 'n' || field === 'n-ng') {
      if (nameStart === -1) {
        nameStart = start;
        nameEnd = end;
      }
    } else if (end > start) {
      fields ??= new Map();
      fields.set(field, view(data, start, end));
    }
  }
  // Stops a field that nobody reads from travelling in a measured entry.
  if (end !== data.length) throw malformed(index, 'more fields than its template has');
  if (nameStart === -1 || digest === undefined) {
    throw evidenceError('IMA_TEMPLATE', 'This entry’s template has no name or no digest.', {
      pointer: `ima:${index}`,
    });
  }
  return new ImaMeasurement(digest, nameStart, nameEnd, fields ?? NO_FIELDS);
}

/** How an entry of a template begins where its digest is a file's SHA-256, and how many fields follow; the first is the name. */
interface UsualForm {
  readonly template: string;
  readonly prefix: Uint8Array;
  readonly more: number;
}

/** The form that was asked for last: almost every entry has the same template. */
let usual: UsualForm | undefined;

/**
 * Where the SHA-256 of a file stands in the data of an entry of the form that almost every entry has; -1 for any other
 * form, and for an entry that {@link decodeImaEntry} refuses. What that takes out of an entry, this finds without making
 * an object for it.
 */
export function usualDigestStart({ template, data, index }: ImaEntry): number {
  if (usual?.template !== template) usual = usualForm(template, index);
  const { prefix, more } = usual;
  if (prefix.length === 0) return -1;
  const start = 4 + prefix.length;
  let end = start + SHA256_BYTES;
  if (data.length < end || sizeAt(data, 0) !== end - 4 || !hasPrefix(data, 4, end, prefix)) return -1;
  for (let field = 0; field < more; field++) {
    if (data.length < end + 4) return -1;
    end += 4 + sizeAt(data, end);
  }
  return end === data.length ? start : -1;
}

/** Where the name of an entry stands whose digest {@link usualDigestStart} has found, with the zero that closes it. */
export function usualName({ data }: ImaEntry, digestStart: number): { start: number; end: number } {
  const start = digestStart + SHA256_BYTES + 4;
  return { start, end: start + sizeAt(data, start - 4) };
}

function usualForm(template: string, index: number): UsualForm {
  const [first, ...others] = templateFields(template, index);
  const form = USUAL.find(({ field }) => field === first);
  const named = others[0] === 'n-ng' || others[0] === 'n';
  return { template, prefix: form !== undefined && named ? form.prefix : NO_PREFIX, more: others.length };
}

/** What stands before a digest in almost every entry; any other prefix is taken apart. */
const USUAL = [
  { field: 'd-ng', prefix: utf8('sha256:\0'), algorithm: 'sha256', type: 'ima' },
  { field: 'd-ngv2', prefix: utf8('ima:sha256:\0'), algorithm: 'sha256', type: 'ima' },
] as const;

/** `d`: SHA-1. `d-ng`: `<algorithm>:\0<digest>`. `d-ngv2`: `<type>:<algorithm>:\0<digest>`. */
function digestOf(
  field: 'd' | 'd-ng' | 'd-ngv2',
  data: Uint8Array,
  start: number,
  end: number,
  index: number,
): ImaDigest {
  if (field === 'd') return new ImaDigest('sha1', 'ima', data, start, end);
  for (const { field: of, prefix, algorithm, type } of USUAL) {
    if (of !== field || !hasPrefix(data, start, end, prefix)) continue;
    return new ImaDigest(algorithm, type, data, start + prefix.length, end);
  }
  const value = data.subarray(start, end);
  const zero = value.indexOf(0);
  if (zero < 1 || zero > 64 || value[zero - 1] !== 0x3a) {
    throw malformed(index, 'its digest names no algorithm');
  }
  const prefix = Buffer.from(value.subarray(0, zero - 1))
    .toString('latin1')
    .split(':');
  const algorithm = prefix.at(-1) ?? '';
  const type = field === 'd-ng' ? 'ima' : prefix[0];
  if (prefix.length !== (field === 'd-ng' ? 1 : 2) || (type !== 'ima' && type !== 'verity')) {
    throw malformed(index, 'its digest is of no known type');
  }
  if (!/^[a-z0-9-]{1,32}$/.test(algorithm)) throw malformed(index, 'its digest names no algorithm');
  return new ImaDigest(algorithm, type, data, start + zero + 1, end);
}

function hasPrefix(data: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  if (end - start < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (data[start + i] !== prefix[i]) return false;
  return true;
}

/** A name without its closing zero. */
function nameOf(data: Uint8Array, start: number, end: number): string {
  let zero = start;
  let seen = 0;
  for (let byte = data[zero]; zero < end && byte !== undefined && byte !== 0; byte = data[++zero])
    seen |= byte;
  // Almost every name is ASCII, which is also the quickest to read.
  if (seen < 0x80) return Buffer.from(data.buffer, data.byteOffset + start, zero - start).toString('latin1');
  const bytes = data.subarray(start, zero);
  try {
    return fromUtf8(bytes);
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return Array.from(bytes, (byte) =>
      byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
    ).join('');
  }
}

/** A 32-bit number, lowest byte first. The caller has seen that it is there. */
function sizeAt(data: Uint8Array, at: number): number {
  return (
    ((data[at] ?? 0) |
      ((data[at + 1] ?? 0) << 8) |
      ((data[at + 2] ?? 0) << 16) |
      ((data[at + 3] ?? 0) << 24)) >>>
    0
  );
}

/** As `subarray`, in half its time. */
function view(data: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + start, end - start);
}

function malformed(index: number, why: string) {
  return evidenceError('IMA_MALFORMED', `An entry of the IMA log can’t be read: ${why}.`, {
    pointer: `ima:${index}`,
  });
}
