/** First byte of what readers skip (RFC 8878, 3.1.2), whatever its last four bits, in little-endian order. */
const SKIPPED = 0x184d2a50;
const RLE = 1;
/** Lengths of a frame header's fields by their flags (RFC 8878, 3.1.1.1). */
const DICTIONARY_ID = [0, 1, 2, 4];
const CONTENT_SIZE = [0, 2, 4, 8];

/**
 * Cuts a stream of zstd frames where each frame ends. Node's decompressor ends after the first frame of what it is given at
 * once, and begins the next with what it is given next; layers of `zstd:chunked` have a frame for each file.
 */
export async function* cutIntoFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const frames = new Frames();
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; ) {
      const end = frames.endAfter(chunk, at);
      yield chunk.subarray(at, end);
      at = end;
    }
  }
}

/** Follows frames by the lengths in them. What is wrong with them otherwise, the decompressor says. */
class Frames {
  #at: 'magic' | 'skipped' | 'descriptor' | 'block' = 'magic';
  /** Bytes to pass over before the next number is read. */
  #skip = 0;
  #number = 0;
  #have = 0;
  #hasChecksum = false;

  /** Where the piece ends that begins at `start`: with its frame, or with the chunk. */
  endAfter(chunk: Uint8Array, start: number): number {
    for (let at = start; at < chunk.length; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at);
        this.#skip -= skipped;
        at += skipped;
      } else {
        this.#number += (chunk[at++] ?? 0) * 256 ** this.#have++;
        if (this.#have === WIDTH[this.#at]) this.#read();
      }
      const ended = this.#at === 'magic' && this.#have === 0 && this.#skip === 0;
      if (ended) return at;
    }
    return chunk.length;
  }

  /** Takes a number that is whole. */
  #read(): void {
    const number = this.#number;
    this.#number = 0;
    this.#have = 0;
    switch (this.#at) {
      case 'magic':
        this.#at = (number & ~0xf) === SKIPPED ? 'skipped' : 'descriptor';
        return;
      case 'skipped':
        this.#skip = number;
        this.#at = 'magic';
        return;
      case 'descriptor': {
        const isSingle = (number & 0x20) !== 0;
        const contentSize = number >> 6 === 0 && isSingle ? 1 : (CONTENT_SIZE[number >> 6] ?? 0);
        this.#skip = (isSingle ? 0 : 1) + (DICTIONARY_ID[number & 3] ?? 0) + contentSize;
        this.#hasChecksum = (number & 4) !== 0;
        this.#at = 'block';
        return;
      }
      case 'block': {
        const isLast = (number & 1) === 1;
        this.#skip = ((number >> 1) & 3) === RLE ? 1 : number >> 3;
        if (!isLast) return;
        if (this.#hasChecksum) this.#skip += 4;
        this.#at = 'magic';
      }
    }
  }
}

/** How many bytes each number has. */
const WIDTH = { magic: 4, skipped: 4, descriptor: 1, block: 3 } as const;
