import { concat } from '@kallio/codec';
import { HASH_BYTES } from '../hash.ts';
import { hashesAt, hashTile, TILE_WIDTH } from '../tiles.ts';
import { frameEntry, frameTime, tileFile, timeOffset, timesFile } from './layout.ts';

/** Bytes to be written at an offset of a file below the log's directory. */
export interface FileWrite {
  readonly name: string;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * Puts leaves at the end of a tree of `size`: what is to be written, and the new right edge. Every write lies beyond
 * the hashes the old tree has, so nothing that is committed is ever written again.
 */
export function integrate(
  size: number,
  edges: readonly Uint8Array[],
  leaves: readonly Uint8Array[],
): { writes: FileWrite[]; edges: Uint8Array[] } {
  const writes: FileWrite[] = [];
  const grown: Uint8Array[] = [...edges];
  let hashes = leaves;
  for (let level = 0; hashes.length > 0; level++) {
    const fullTiles: Uint8Array[] = [];
    let edge = edges[level] ?? concat();
    let count = hashesAt(level, size);
    for (let taken = 0; taken < hashes.length; ) {
      const room = TILE_WIDTH - (count % TILE_WIDTH);
      const bytes = concat(...hashes.slice(taken, taken + room));
      const added = bytes.length / HASH_BYTES;
      writes.push({ name: tileFile(level, Math.floor(count / TILE_WIDTH)), offset: edge.length, bytes });
      edge = concat(edge, bytes);
      if (added === room) {
        fullTiles.push(hashTile(edge, 0, TILE_WIDTH));
        edge = concat();
      }
      taken += added;
      count += added;
    }
    grown[level] = edge;
    hashes = fullTiles;
  }
  return { writes, edges: grown };
}

/**
 * Puts entries and their integrated time at the end of the bundles of a log of `size`, whose last bundle is
 * `bundleBytes` long: what is to be written, and how long the last bundle is then.
 */
export function appendEntries(input: {
  readonly size: number;
  readonly bundleBytes: number;
  readonly entries: readonly Uint8Array[];
  readonly time: number;
}): { writes: FileWrite[]; bundleBytes: number } {
  const { size, entries } = input;
  const writes: FileWrite[] = [];
  let bundleBytes = input.bundleBytes;
  for (let taken = 0; taken < entries.length; ) {
    const index = size + taken;
    const bundle = Math.floor(index / TILE_WIDTH);
    const part = entries.slice(taken, taken + TILE_WIDTH - (index % TILE_WIDTH));
    const bytes = concat(...part.map(frameEntry));
    const times = concat(...part.map(() => frameTime(input.time)));
    writes.push({ name: tileFile('entries', bundle), offset: bundleBytes, bytes });
    writes.push({ name: timesFile(bundle), offset: timeOffset(index), bytes: times });
    taken += part.length;
    bundleBytes = (size + taken) % TILE_WIDTH === 0 ? 0 : bundleBytes + bytes.length;
  }
  return { writes, bundleBytes };
}
