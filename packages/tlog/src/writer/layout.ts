import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, fromUtf8, Reader, Writer } from '@kallio/codec';
import { type Checkpoint, parseCheckpointText, sameHead } from '../checkpoint.ts';
import { tlogError } from '../error.ts';
import { HASH_BYTES } from '../hash.ts';
import { parseNote } from '../note.ts';
import { hashesAt, TILE_WIDTH, tileIndexPath } from '../tiles.ts';

/*
 * A log's directory:
 *
 *   log.json             which log this is: origin and key
 *   head                 the newest head, unsigned: what it covers is committed, anything else on disk is not
 *   tile/<L>/<N>         hashes (C2SP tlog-tiles). One file grows to the full tile; a partial tile is its beginning
 *   tile/entries/<N>     entries, each behind its 16-bit length, likewise
 *   times/<N>            integrated time of each entry, 64-bit seconds, likewise
 *   checkpoint           the head signed for C2SP clients, and
 *   checkpoint.sigstore  for Sigstore clients: copies for whoever serves or checks the directory
 *   lock                 held by the one writer
 */

/** Bytes of one entry's integrated time. */
const TIME_BYTES = 8;

/** Path of a tile's file, below the log's directory. */
export function tileFile(kind: number | 'entries', index: number): string {
  return join('tile', String(kind), tileIndexPath(index));
}

/** Path of the file of integrated times of a bundle, below the log's directory. */
export function timesFile(index: number): string {
  return join('times', tileIndexPath(index));
}

/** How the entry stands in a bundle (C2SP tlog-tiles section "Log entries"). */
export function frameEntry(entry: Uint8Array): Uint8Array {
  return new Writer(entry.length + 2).u16(entry.length).bytes(entry).finish();
}

/** How the time stands in its file. */
export function frameTime(seconds: number): Uint8Array {
  return new Writer(TIME_BYTES).u64(BigInt(seconds)).finish();
}

/** Offset of an entry's time in its file. */
export function timeOffset(index: number): number {
  return (index % TILE_WIDTH) * TIME_BYTES;
}

/** Reads committed data of a log's directory. Data shorter than the head says is `LOG_CORRUPT`. */
export class LogReader {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A small file's text, if it is there. */
  text(name: string): string | undefined {
    const path = join(this.#directory, name);
    return existsSync(path) ? fromUtf8(readFileSync(path)) : undefined;
  }

  /** The committed head. */
  head(): Checkpoint {
    const text = this.text('head');
    if (text === undefined) throw corrupt('head');
    return parseCheckpointText(text);
  }

  /**
   * Heads are published only once they are committed. A published head that the committed one does not reach means
   * that the directory was set back: going on would sign another head of a size that was signed already.
   */
  requireNotBehind(head: Checkpoint): void {
    const note = this.text('checkpoint.sigstore');
    if (note === undefined) return;
    const published = parseCheckpointText(parseNote(note).text);
    if (published.size > head.size || (published.size === head.size && !sameHead(published, head))) {
      throw corrupt('checkpoint.sigstore');
    }
  }

  /** The first `width` hashes of a tile. */
  tile(level: number, index: number, width: number): Uint8Array {
    return this.#beginning(tileFile(level, index), width * HASH_BYTES);
  }

  /** The first `width` entries of a bundle, and how many bytes they take in its file. */
  bundle(index: number, width: number): { entries: Uint8Array[]; bytes: Uint8Array } {
    const name = tileFile('entries', index);
    const bytes = this.#read(name);
    const reader = new Reader(bytes);
    const entries: Uint8Array[] = [];
    try {
      while (entries.length < width) entries.push(reader.bytes(reader.u16()));
    } catch (cause) {
      throw corrupt(name, cause);
    }
    return { entries, bytes: bytes.subarray(0, reader.offset) };
  }

  /** Integrated times of the first `width` entries of a bundle, in seconds. */
  times(index: number, width: number): number[] {
    const reader = new Reader(this.#beginning(timesFile(index), width * TIME_BYTES));
    return Array.from({ length: width }, () => Number(reader.u64()));
  }

  /** Hashes of every leaf of a tree of `size`, tile by tile. */
  *leafTiles(size: number): Generator<{ index: number; hashes: Uint8Array }> {
    for (let first = 0; first < size; first += TILE_WIDTH) {
      const index = first / TILE_WIDTH;
      yield { index, hashes: this.tile(0, index, Math.min(TILE_WIDTH, size - first)) };
    }
  }

  /** The partial tile at the right edge of every level of a tree of `size`; empty where the last tile is full. */
  edges(size: number): Uint8Array[] {
    const edges: Uint8Array[] = [];
    for (let level = 0; hashesAt(level, size) > 0; level++) {
      const count = hashesAt(level, size);
      const width = count % TILE_WIDTH;
      edges.push(width === 0 ? concat() : this.tile(level, (count - width) / TILE_WIDTH, width));
    }
    return edges;
  }

  #beginning(name: string, length: number): Uint8Array {
    const bytes = this.#read(name);
    if (bytes.length < length) throw corrupt(name);
    return bytes.subarray(0, length);
  }

  #read(name: string): Uint8Array {
    try {
      return new Uint8Array(readFileSync(join(this.#directory, name)));
    } catch (cause) {
      throw corrupt(name, cause);
    }
  }
}

function corrupt(name: string, cause?: unknown) {
  return tlogError('LOG_CORRUPT', 'The log’s head covers data that its directory does not hold.', {
    pointer: name,
    cause,
    hint: 'Do not go on with this directory: restore it from a copy that is at least as new, or begin a new log.',
  });
}
