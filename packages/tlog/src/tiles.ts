import { tlogError } from './error.ts';
import { HASH_BYTES, nodeHash } from './hash.ts';
import type { NodeReader } from './tree.ts';

/** Hashes in a full tile, entries in a full bundle. */
export const TILE_WIDTH = 256;
/** Tree levels in one tile. */
const TILE_HEIGHT = 8;

/** One tile: `kind` is its level, or `entries` for a bundle of entries; `width` hashes or entries, 1 to 256. */
export interface TileId {
  readonly kind: number | 'entries';
  readonly index: number;
  readonly width: number;
}

/** `tile/<L>/<N>[.p/<W>]`: C2SP tlog-tiles, sections "Merkle Tree" and "Log entries". */
export function tilePath(tile: TileId): string {
  const suffix = tile.width === TILE_WIDTH ? '' : `.p/${tile.width}`;
  return `tile/${tile.kind}/${tileIndexPath(tile.index)}${suffix}`;
}

/** The index in groups of three digits, all but the last marked `x`: 1234067 is `x001/x234/067`. */
export function tileIndexPath(index: number): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) ?? [];
  return groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
}

const PATH = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/)*\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** The tile a path names, or `LOG_TILE_PATH`: one tile has one path, so no other spelling is served. */
export function parseTilePath(path: string): TileId {
  const match = path.length <= 64 ? PATH.exec(path) : null;
  const [, kind, index, width] = match ?? [];
  if (kind !== undefined && index !== undefined) {
    const tile: TileId = {
      kind: kind === 'entries' ? kind : Number(kind),
      index: Number(index.replaceAll(/[x/]/g, '')),
      width: width === undefined ? TILE_WIDTH : Number(width),
    };
    if (
      Number.isSafeInteger(tile.index) &&
      tilePath(tile) === path &&
      (tile.kind === 'entries' || tile.kind < 64)
    ) {
      return tile;
    }
  }
  throw tlogError('LOG_TILE_PATH', 'This is no path of a tile.', {
    hint: 'Tiles are named tile/LEVEL/INDEX or tile/LEVEL/INDEX.p/WIDTH (C2SP tlog-tiles).',
  });
}

/** How many hashes (level 0: leaves) a tree of `size` leaves has at a tile level. */
export function hashesAt(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

/** Whether a tree of `size` leaves has this tile. */
export function tileExists(tile: TileId, size: number): boolean {
  const count = hashesAt(tile.kind === 'entries' ? 0 : tile.kind, size);
  return tile.index * TILE_WIDTH + tile.width <= count;
}

/** The hashes of a tile, at least those a tree of the size in question has. */
export type TileReader = (level: number, index: number) => Uint8Array;

/** Most nodes remembered between two tiles' levels; each takes about 150 bytes. */
const REMEMBERED_NODES = 65_536;

/**
 * Nodes of the tree, read out of tiles: the levels between two tiles are hashed from the lower one. A node is over a
 * complete sub-tree, so it never changes as the log grows, and is remembered.
 */
export function nodesFromTiles(tileAt: TileReader): NodeReader {
  const remembered = new Map<number, Uint8Array>();
  const nodeAt: NodeReader = (level, index) => {
    const within = level % TILE_HEIGHT;
    if (within === 0) {
      const tile = tileAt(level / TILE_HEIGHT, Math.floor(index / TILE_WIDTH));
      return hashTile(tile, index % TILE_WIDTH, 1);
    }
    const key = index * 64 + level;
    let node = remembered.get(key);
    if (node === undefined) {
      node = nodeHash(nodeAt(level - 1, index * 2), nodeAt(level - 1, index * 2 + 1));
      const [oldest] = remembered.keys();
      if (remembered.size >= REMEMBERED_NODES && oldest !== undefined) remembered.delete(oldest);
      remembered.set(key, node);
    }
    return node;
  };
  return nodeAt;
}

/** Merkle tree hash over `count` (a power of two) of a tile's hashes. */
export function hashTile(hashes: Uint8Array, first: number, count: number): Uint8Array {
  if (count > 1) {
    return nodeHash(hashTile(hashes, first, count / 2), hashTile(hashes, first + count / 2, count / 2));
  }
  const hash = hashes.subarray(first * HASH_BYTES, (first + 1) * HASH_BYTES);
  if (hash.length !== HASH_BYTES) {
    throw tlogError('LOG_CORRUPT', `A tile ends before its hash ${first}.`);
  }
  return hash;
}
