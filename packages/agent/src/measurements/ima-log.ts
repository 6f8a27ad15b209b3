import { type FileHandle, open, readFile } from 'node:fs/promises';
import { concat } from '@kallio/codec';
import { agentError } from '../error.ts';
import { isAbsent } from '../files.ts';

/** A piece of the kernel's measurement list: whole entries, from `from` on. */
export interface ImaPiece {
  readonly from: number;
  readonly entries: Uint8Array;
  /** Place after the last of them. */
  readonly end: number;
  /** True when the list goes on, and the piece ends because it is full. */
  readonly more: boolean;
}

/** Where an entry begins. */
interface Mark {
  readonly entries: number;
  readonly offset: number;
}

const START: Mark = { entries: 0, offset: 0 };
const CHUNK = 256 * 1024;
/** A mark for so many entries: an entry between two of them is found by walking, not by reading from the start. */
const MARK_EVERY = 4096;
const PCR_AND_DIGEST = 24;
const SHA1_BYTES = 20;
const MAX_TEMPLATE_NAME = 255;
/** A larger entry is taken for a list that is no list. */
const MAX_ENTRY = 32 * 1024 * 1024;

/**
 * The kernel's measurement list (`binary_runtime_measurements`), read from any entry on without reading what is before
 * it: where entries begin is remembered while the process lives, and found again by walking the list when it is new.
 */
export class ImaLog {
  readonly #path: string;
  readonly #countPath: string;
  #marks: Mark[] = [START];

  /** Paths of `binary_runtime_measurements` and `runtime_measurements_count`. */
  constructor(path: string, countPath: string) {
    this.#path = path;
    this.#countPath = countPath;
  }

  /** Entries in the list now; cheap. Undefined where the kernel has none. */
  async count(): Promise<number | undefined> {
    try {
      const count = Number((await readFile(this.#countPath, 'utf8')).trim());
      return Number.isSafeInteger(count) && count >= 0 ? count : undefined;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /**
   * Entries from `from` on, at most `maxBytes` of them but at least one; undefined where the kernel has no list. A list
   * that ends before `from` is another one than was asked for: it is read from its first entry.
   */
  async read(from: number, maxBytes: number): Promise<ImaPiece | undefined> {
    let file: FileHandle;
    try {
      file = await open(this.#path, 'r');
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
    try {
      const piece = await this.#walk(file, from, maxBytes);
      if (piece !== undefined) return piece;
      this.#marks = [START];
      return await this.#walk(file, 0, maxBytes);
    } finally {
      await file.close();
    }
  }

  async #walk(file: FileHandle, from: number, maxBytes: number): Promise<ImaPiece | undefined> {
    let { entries: index, offset } = this.#marks.findLast(({ entries }) => entries <= from) ?? START;
    const taken: Uint8Array[] = [];
    let size = 0;
    let rest: Uint8Array = new Uint8Array(0);
    for (let position = offset; ; ) {
      // Files of securityfs say that they have 0 bytes: one reads until there is nothing more.
      const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK), 0, CHUNK, position);
      if (bytesRead === 0) break;
      position += bytesRead;
      const bytes = Buffer.from(concat(rest, buffer.subarray(0, bytesRead)));
      let at = 0;
      for (let end = entryEnd(bytes, at); end !== undefined; end = entryEnd(bytes, at)) {
        if (index >= from) {
          if (taken.length > 0 && size + end - at > maxBytes) {
            return { from, entries: concat(...taken), end: index, more: true };
          }
          taken.push(bytes.subarray(at, end));
          size += end - at;
        }
        offset += end - at;
        at = end;
        index++;
        this.#mark(index, offset);
      }
      rest = bytes.subarray(at);
      if (rest.length > MAX_ENTRY) throw unreadable(index);
    }
    if (rest.length > 0) throw unreadable(index);
    return index < from ? undefined : { from, entries: concat(...taken), end: index, more: false };
  }

  #mark(entries: number, offset: number): void {
    const last = this.#marks.at(-1) ?? START;
    if (entries <= last.entries) return;
    // The end of the list, where the next piece begins, is the one mark that moves.
    if (last.entries % MARK_EVERY !== 0) this.#marks.pop();
    this.#marks.push({ entries, offset });
  }
}

/** Where the entry at `at` ends; undefined where the bytes end first (Linux, security/integrity/ima/ima_fs.c). */
function entryEnd(bytes: Buffer, at: number): number | undefined {
  const sizeAt = at + PCR_AND_DIGEST;
  if (sizeAt + 4 > bytes.length) return undefined;
  const nameSize = bytes.readUInt32LE(sizeAt);
  if (nameSize === 0 || nameSize > MAX_TEMPLATE_NAME) throw unreadable();
  const dataAt = sizeAt + 4 + nameSize;
  // The first template has no length of its own: a digest, then a name with its length.
  const old = bytes.subarray(sizeAt + 4, dataAt).toString('latin1') === 'ima';
  const lengthAt = old ? dataAt + SHA1_BYTES : dataAt;
  if (lengthAt + 4 > bytes.length) return undefined;
  const end = lengthAt + 4 + bytes.readUInt32LE(lengthAt);
  return end <= bytes.length ? end : undefined;
}

function unreadable(index?: number) {
  return agentError('MEASUREMENTS_UNREADABLE', 'The kernel’s measurement list can’t be read.', {
    ...(index === undefined ? {} : { pointer: `ima:${index}` }),
  });
}
