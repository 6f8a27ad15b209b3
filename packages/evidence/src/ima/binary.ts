import { concat } from '@kallio/codec';
import { evidenceError } from '../error.ts';
import { IMA_PCR } from '../pcr.ts';
import type { ImaEntry } from './entry.ts';
import { templateFields } from './template.ts';

const SHA1_BYTES = 20;
const OLD_NAME_BYTES = 256;
const MAX_TEMPLATE_NAME = 255;
/** PCR, template digest, size of the template's name. */
const HEAD_BYTES = 4 + SHA1_BYTES + 4;
/** Most bytes of an entry that is waited for. Measured buffers and appended signatures may be large. */
const MAX_ENTRY = 16 * 1024 * 1024;

/** Where a list starts that is not read from its first entry. */
export interface ImaReadOptions {
  /** Place of the first entry in the list of this boot. */
  readonly from?: number;
  /** Most bytes. Default 64 MiB. */
  readonly maxBytes?: number;
}

/**
 * Reads a binary measurement list (`binary_runtime_measurements`, little-endian), one entry at a time and without
 * copying, so that memory does not grow with the list (Linux, security/integrity/ima/ima_fs.c: PCR, SHA-1 template
 * digest, template name, data). Errors are `IMA_…` with the entry's number.
 */
export function readImaLog(
  bytes: Uint8Array,
  options: ImaReadOptions = {},
): Generator<ImaEntry, void, undefined> {
  return new ImaLogReader({ maxBytes: 64 * 1024 * 1024, ...options }).whole(bytes);
}

/**
 * The same as a function that gives one entry after the other, and `undefined` after the last: a generator costs more than
 * reading an entry does.
 */
export function imaEntries(bytes: Uint8Array, options: ImaReadOptions = {}): () => ImaEntry | undefined {
  return new ImaLogReader({ maxBytes: 64 * 1024 * 1024, ...options }).each(bytes);
}

/**
 * The same for a list that arrives in pieces, cut anywhere: what is held is the entry that has not ended yet, never more
 * than 16 MiB of it, however long the list is. An entry's data is a view of the piece: take what is kept.
 */
export class ImaLogReader {
  readonly #names = new TemplateNames();
  readonly #maxBytes: number;
  #index: number;
  #taken = 0;
  /** Pieces of the entry that has not ended, how much they are, and how much it needs at least. */
  #pieces: Uint8Array[] = [];
  #held = 0;
  #needed = 0;
  /** What is being read, and where in it. */
  #bytes: Uint8Array = new Uint8Array();
  #view: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;

  constructor({ from = 0, maxBytes = Number.POSITIVE_INFINITY }: ImaReadOptions = {}) {
    this.#index = from;
    this.#maxBytes = maxBytes;
  }

  /** The entries that end in this piece. */
  *push(piece: Uint8Array): Generator<ImaEntry, void, undefined> {
    this.#count(piece.length);
    if (this.#held + piece.length < this.#needed) {
      this.#hold(piece);
      return;
    }
    this.#open(this.#held === 0 ? piece : concat(...this.#pieces, piece));
    this.#pieces = [];
    this.#held = 0;
    for (let entry = this.#next(); entry !== undefined; entry = this.#next()) yield entry;
    if (this.#left() > 0) this.#hold(this.#bytes.subarray(this.#at));
  }

  /** To be called after the last piece. An entry that has not ended is `IMA_MALFORMED`. */
  end(): void {
    if (this.#held > 0) throw this.#cut(this.#held);
  }

  /** The entries of a whole list. */
  *whole(bytes: Uint8Array): Generator<ImaEntry, void, undefined> {
    const next = this.each(bytes);
    for (let entry = next(); entry !== undefined; entry = next()) yield entry;
  }

  /** See {@link imaEntries}. */
  each(bytes: Uint8Array): () => ImaEntry | undefined {
    this.#count(bytes.length);
    this.#open(bytes);
    return () => {
      const entry = this.#next();
      if (entry === undefined && this.#left() > 0) throw this.#cut(this.#left());
      return entry;
    };
  }

  #open(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = 0;
  }

  #left(): number {
    return this.#bytes.length - this.#at;
  }

  /** A copy: whoever reads a file fills the same memory again. */
  #hold(bytes: Uint8Array): void {
    // Stops an entry that never ends from taking the memory of whoever waits for its end.
    if (this.#needed > MAX_ENTRY) {
      throw this.#refused('IMA_TOO_LARGE', `Entry ${this.#index} says that it has ${this.#needed} bytes.`);
    }
    this.#pieces.push(bytes.slice());
    this.#held += bytes.length;
  }

  #count(bytes: number): void {
    this.#taken += bytes;
    if (this.#taken > this.#maxBytes) {
      throw evidenceError('IMA_TOO_LARGE', `This IMA log is longer than ${this.#maxBytes} bytes.`);
    }
  }

  #cut(left: number) {
    const why = `it ends after ${left} of at least ${this.#needed} bytes.`;
    return evidenceError('IMA_MALFORMED', `Entry ${this.#index} of the IMA log can’t be read: ${why}`, {
      pointer: `ima:${this.#index}`,
    });
  }

  /** The next entry, if all of it is there; `#needed` is then how many bytes it has, and otherwise how many at least. */
  #next(): ImaEntry | undefined {
    const bytes = this.#bytes;
    const view = this.#view;
    const at = this.#at;
    const left = bytes.length - at;
    this.#needed = HEAD_BYTES;
    if (left >= 4) this.#checkPcr(view.getUint32(at, true));
    if (left < HEAD_BYTES) return undefined;
    const nameSize = view.getUint32(at + 4 + SHA1_BYTES, true);
    const name = at + HEAD_BYTES;
    this.#needed += this.#nameSize(nameSize) + 4;
    if (left < this.#needed) return undefined;
    const template = this.#names.nameOf(bytes, name, nameSize, this.#index);
    let data: Uint8Array | undefined;
    if (template === 'ima') {
      data = this.#oldData(bytes, view, name + nameSize);
    } else {
      const start = name + nameSize + 4;
      const size = view.getUint32(start - 4, true);
      this.#needed += size;
      if (left >= this.#needed) data = new Uint8Array(bytes.buffer, bytes.byteOffset + start, size);
    }
    if (data === undefined) return undefined;
    this.#at = at + this.#needed;
    return { index: this.#index++, pcr: IMA_PCR, template, violation: isZero(bytes, at + 4), data };
  }

  // Stops entries that went to another PCR from being taken for proved by this one.
  #checkPcr(pcr: number): void {
    if (pcr !== IMA_PCR) {
      throw this.#refused('IMA_PCR', `Entry ${this.#index} is of PCR ${pcr}; only PCR ${IMA_PCR} is judged.`);
    }
  }

  #nameSize(size: number): number {
    if (size === 0 || size > MAX_TEMPLATE_NAME) {
      throw this.#refused('IMA_TEMPLATE', `The name of a template can’t have ${size} bytes.`);
    }
    return size;
  }

  /** The data of the template `ima`, as the kernel hashes it: the name padded with zeros to 256 bytes. */
  #oldData(bytes: Uint8Array, view: DataView, start: number): Uint8Array | undefined {
    this.#needed += SHA1_BYTES;
    const end = bytes.length;
    const name = start + SHA1_BYTES + 4;
    if (end < name) return undefined;
    const size = view.getUint32(name - 4, true);
    if (size > OLD_NAME_BYTES - 1) {
      throw this.#refused('IMA_MALFORMED', `A name in the template ima can’t have ${size} bytes.`);
    }
    this.#needed += size;
    if (end < name + size) return undefined;
    const data = new Uint8Array(SHA1_BYTES + OLD_NAME_BYTES);
    data.set(bytes.subarray(start, start + SHA1_BYTES));
    data.set(bytes.subarray(name, name + size), SHA1_BYTES);
    return data;
  }

  #refused(code: 'IMA_PCR' | 'IMA_TEMPLATE' | 'IMA_TOO_LARGE' | 'IMA_MALFORMED', message: string) {
    return evidenceError(code, message, { pointer: `ima:${this.#index}` });
  }
}

/** Almost every entry has the same template: its name is decoded and checked once. */
class TemplateNames {
  #bytes: Uint8Array = new Uint8Array();
  #name = '';

  nameOf(bytes: Uint8Array, at: number, size: number, index: number): string {
    if (!this.#isSame(bytes, at, size)) {
      const own = bytes.slice(at, at + size);
      const name = Buffer.from(own).toString('latin1');
      templateFields(name, index);
      this.#bytes = own;
      this.#name = name;
    }
    return this.#name;
  }

  #isSame(bytes: Uint8Array, at: number, size: number): boolean {
    const known = this.#bytes;
    if (known.length !== size) return false;
    for (let i = 0; i < size; i++) if (bytes[at + i] !== known[i]) return false;
    return true;
  }
}

/** True for a template digest of zeros, from `at` on. */
function isZero(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + SHA1_BYTES; i++) if (bytes[i] !== 0) return false;
  return true;
}
