import { FIELD, type Framing, MAX_HEAD } from './head.ts';

/** Finds where a body ends in the bytes that a connection brings. */
export interface BodyReader {
  /**
   * Takes what is the body's and gives its pieces to `hand`. What comes after the body's end; undefined where that has not
   * come yet.
   */
  take(bytes: Buffer, hand: (piece: Buffer) => void): Buffer | undefined;
}

/** The reader of a body that ends so. */
export function bodyReader(framing: Framing): BodyReader {
  if (framing === 'chunked') return new Chunked();
  return framing === 'connection' ? UNENDING : new Counted(framing);
}

const UNENDING: BodyReader = {
  take(bytes, hand) {
    if (bytes.length > 0) hand(bytes);
    return undefined;
  },
};

class Counted implements BodyReader {
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  take(bytes: Buffer, hand: (piece: Buffer) => void): Buffer | undefined {
    const piece = bytes.subarray(0, this.#left);
    this.#left -= piece.length;
    if (piece.length > 0) hand(piece);
    return this.#left > 0 ? undefined : bytes.subarray(piece.length);
  }
}

/** Longest line that says a chunk's size. Attack: a long one before each byte, which is a body that takes long to end. */
const MAX_SIZE_LINE = 256;
/** A chunk's size, and extensions without spaces between their parts, which nobody should send. */
const SIZE =
  /^([0-9A-Fa-f]{1,8})(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"[\t !#-[\]-~\x80-\xff]*"))?)*$/;
/** Attack: a trailer that somebody on the way takes for the end of another body (RFC 9110 section 6.5.1). */
const FRAMES = /^(?:content-length|transfer-encoding):/i;

/** A body in chunks (RFC 9112 section 7.1): extensions and trailers are read over, and bounded. */
class Chunked implements BodyReader {
  #expects: 'size' | 'data' | 'end of data' | 'trailers' = 'size';
  #left = 0;
  /** The line that is being read, as far as it has come. */
  #line = '';
  #trailers = 0;

  take(bytes: Buffer, hand: (piece: Buffer) => void): Buffer | undefined {
    let at = 0;
    while (at < bytes.length) {
      if (this.#expects === 'data') {
        const piece = bytes.subarray(at, at + this.#left);
        at += piece.length;
        this.#left -= piece.length;
        hand(piece);
        if (this.#left === 0) this.#expects = 'end of data';
        continue;
      }
      const end = bytes.indexOf(0x0a, at);
      this.#line += bytes.toString('latin1', at, end === -1 ? bytes.length : end);
      if (this.#line.length > (this.#expects === 'trailers' ? MAX_HEAD : MAX_SIZE_LINE))
        throw new Error('a line between the answer’s chunks is too long');
      if (end === -1) return undefined;
      at = end + 1;
      if (!this.#line.endsWith('\r')) throw new Error('a line between the answer’s chunks does not end');
      const line = this.#line.slice(0, -1);
      this.#line = '';
      if (this.#take(line)) return bytes.subarray(at);
    }
    return undefined;
  }

  /** Takes a line; whether it is the body's last. */
  #take(line: string): boolean {
    if (this.#expects === 'trailers') {
      this.#trailers += line.length;
      if (this.#trailers > MAX_HEAD) throw new Error('the answer’s trailers are too long');
      if (line !== '' && (!FIELD.test(line) || FRAMES.test(line)))
        throw new Error('a trailer of the answer is malformed');
      return line === '';
    }
    if (this.#expects === 'end of data') {
      if (line !== '') throw new Error('a chunk of the answer is longer than it says');
      this.#expects = 'size';
      return false;
    }
    const [, size] = SIZE.exec(line) ?? [];
    if (size === undefined) throw new Error('a chunk of the answer has no size');
    this.#left = Number.parseInt(size, 16);
    this.#expects = this.#left === 0 ? 'trailers' : 'data';
    return false;
  }
}
