import { ociError } from '../error.ts';
import {
  BLOCK,
  type Block,
  type EntryType,
  isZero,
  MAX_NAME,
  malformed,
  readBlock,
  text,
  tooLong,
} from './block.ts';
import { type Pax, readPax } from './pax.ts';

/** Longest extended header, in bytes: as long as Go's reader takes, so as long as runtimes do. */
const MAX_PAX = 1024 * 1024;
/** The last owner that a Linux kernel has: 2^32 - 1 means nobody there. */
const MAX_ID = 2 ** 32 - 2;

/** An entry of an archive, with everything that its headers say of it. */
export interface TarEntry {
  readonly type: EntryType;
  /** As it stands there. */
  readonly name: string;
  /** Of a hard link: the name that it is another name of. */
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a file's content, in bytes; of anything else 0. */
  readonly size: number;
}

/** Is told of an archive while it goes by. */
export interface TarSink {
  /** Of each entry. */
  entry(entry: TarEntry): void;
  /** After a file: its content, piece by piece; an empty file has one empty piece. */
  content(piece: Uint8Array, last: boolean): void;
  /** Of a header that describes no entry. */
  passedOver(): void;
}

/**
 * Reads a tar archive as it comes (ustar, pax and GNU, as Go's archive/tar does, which most runtimes unpack with), and holds
 * a header at most. Where readers disagree about what an archive holds, it is refused with `OCI_LAYER`: each file manifest
 * would be true for one of them.
 */
export class TarReader {
  readonly #sink: TarSink;
  /** A header block that came in parts. */
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  /** Blocks of zeros: the second ends the archive. */
  #zeros = 0;
  /** Bytes of content that are to come, then of padding. */
  #content = 0;
  #padding = 0;
  /** A header about the next header, whose content is collected, of this length, in memory that is used again. */
  #meta: { readonly type: Block['type']; readonly size: number } | undefined;
  #collected = 0;
  #memory = Buffer.alloc(BLOCK);
  #pax: Pax | undefined;
  #gnuName: string | undefined;
  #gnuLink: Uint8Array | undefined;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Takes what comes next. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    for (let at = 0; at < bytes.length; ) {
      if (this.#content > 0) {
        const piece = bytes.subarray(at, at + this.#content);
        at += piece.length;
        this.#content -= piece.length;
        this.#take(piece);
      } else if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, bytes.length - at);
        at += skipped;
        this.#padding -= skipped;
      } else if (this.#filled === 0 && bytes.length - at >= BLOCK) {
        this.#header(bytes.subarray(at, at + BLOCK));
        at += BLOCK;
      } else {
        const copied = bytes.copy(this.#block, this.#filled, at, at + BLOCK - this.#filled);
        at += copied;
        this.#filled += copied;
        if (this.#filled < BLOCK) return;
        this.#filled = 0;
        this.#header(this.#block);
      }
    }
  }

  /** Nothing comes any more. */
  end(): void {
    if (this.#content > 0 || this.#padding > 0 || this.#filled > 0 || this.#describesNext()) {
      throw malformed('it ends in the middle of an entry');
    }
  }

  #take(piece: Buffer): void {
    const meta = this.#meta;
    if (meta === undefined) {
      this.#sink.content(piece, this.#content === 0);
      return;
    }
    this.#collected += piece.copy(this.#memory, this.#collected);
    if (this.#content > 0) return;
    this.#meta = undefined;
    this.#described(meta.type, this.#memory.subarray(0, meta.size));
  }

  #header(bytes: Buffer): void {
    if (isZero(bytes)) {
      if (this.#describesNext()) throw malformed('a header describes no entry');
      this.#zeros++;
      return;
    }
    // Attack: entries after the end of the archive, of which one reader knows and another does not.
    if (this.#zeros > 0) throw malformed('it goes on after its end');
    const block = readBlock(bytes);
    switch (block.type) {
      case 'pax':
      case 'pax-global':
      case 'gnu-name':
      case 'gnu-link':
        this.#describe(block);
        return;
      default:
        this.#entry(block, block.type);
    }
  }

  /** Begins to collect what a header says of the next one. */
  #describe({ type, size }: Block): void {
    const isPax = type === 'pax' || type === 'pax-global';
    if (isPax && size > MAX_PAX) {
      throw ociError('OCI_LAYER_LIMIT', `A layer has an extended header of more than ${MAX_PAX} bytes.`);
    }
    // With the zero that ends it.
    if (!isPax && size > MAX_NAME + 1) throw tooLong();
    this.#content = size;
    this.#padding = paddingOf(size);
    this.#collected = 0;
    if (size > this.#memory.length) this.#memory = Buffer.alloc(size);
    if (size > 0) this.#meta = { type, size };
    else this.#described(type, this.#memory.subarray(0, 0));
  }

  /** Attack: two headers of one kind for one entry, of which one reader takes the first and another the second. */
  #described(type: Block['type'], bytes: Buffer): void {
    const twice = 'an entry is described twice';
    switch (type) {
      case 'gnu-name':
        if (this.#gnuName !== undefined) throw malformed(twice);
        this.#gnuName = text(unterminated(bytes));
        return;
      case 'gnu-link':
        if (this.#gnuLink !== undefined) throw malformed(twice);
        this.#gnuLink = Buffer.from(unterminated(bytes));
        return;
      case 'pax':
        if (this.#pax !== undefined) throw malformed(twice);
        this.#pax = readPax(bytes);
        return;
      default: {
        if (this.#describesNext()) throw malformed('a header describes no entry');
        // Attack: Go's reader passes over what such a header says of all entries, and others believe it.
        if (Object.keys(readPax(bytes)).length > 0) throw malformed('a header describes all entries');
        this.#sink.passedOver();
      }
    }
  }

  #describesNext(): boolean {
    return (
      this.#meta !== undefined ||
      this.#pax !== undefined ||
      this.#gnuName !== undefined ||
      this.#gnuLink !== undefined
    );
  }

  #entry(block: Block, type: EntryType): void {
    const pax = this.#pax ?? {};
    const gnuName = this.#gnuName;
    const gnuLink = this.#gnuLink;
    this.#pax = undefined;
    this.#gnuName = undefined;
    this.#gnuLink = undefined;
    if ((gnuName !== undefined && pax.path !== undefined) || (gnuLink && pax.linkpath)) {
      throw malformed('an entry has two names');
    }
    const name = pax.path ?? gnuName ?? block.name;
    const link = pax.linkpath ?? gnuLink ?? block.link;
    const size = pax.size ?? block.size;
    const uid = pax.uid ?? block.uid;
    const gid = pax.gid ?? block.gid;
    if (uid > MAX_ID || gid > MAX_ID) throw malformed('an owner in it can be none');
    const isFile = type === 'file';
    // Attack: a link with a size, after which one reader looks for content and another for the next header.
    if (!isFile && size > 0) throw malformed('what is no file has content');
    if (isFile && name.endsWith('/')) throw malformed('a file is named like a directory');
    this.#content = size;
    this.#padding = paddingOf(size);
    this.#sink.entry({
      type,
      name,
      link: type === 'link' ? text(Buffer.from(link)) : '',
      mode: block.mode & 0o7777,
      uid,
      gid,
      size,
    });
    if (isFile && size === 0) this.#sink.content(EMPTY, true);
  }
}

const EMPTY = new Uint8Array(0);

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** GNU tar ends such a name with a zero. */
function unterminated(bytes: Buffer): Buffer {
  const end = bytes.at(-1) === 0 ? bytes.length - 1 : bytes.length;
  const name = bytes.subarray(0, end);
  if (name.length === 0 || name.includes(0)) throw malformed('a long name is none');
  return name;
}
