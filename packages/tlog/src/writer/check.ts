import type { KeyObject } from 'node:crypto';
import { concat, equalBytes } from '@kallio/codec';
import {
  type Checkpoint,
  c2spOrigin,
  sameHead,
  verifyC2spCheckpoint,
  verifySigstoreCheckpoint,
} from '../checkpoint.ts';
import { tlogError } from '../error.ts';
import { HASH_BYTES, leafHash } from '../hash.ts';
import { parseNote } from '../note.ts';
import { hashesAt, hashTile, nodesFromTiles, TILE_WIDTH } from '../tiles.ts';
import { rootOf } from '../tree.ts';
import { NOTE_KEY, verifierKeyOf } from '../verifier-key.ts';
import { ed25519Raw, spkiOf } from './keys.ts';
import { LogReader, tileFile, timesFile } from './layout.ts';

/** Public keys of a log, to check its signed heads with. */
export interface LogPublicKeys {
  readonly p256: KeyObject;
  readonly ed25519: KeyObject;
}

/**
 * Checks a log's directory from the bytes up: every entry hashes to its leaf, every tile to the one above it, all of
 * them to the committed head, every entry has a time, times never go back, and (with keys) the published heads are
 * signed and are the committed one. Anyone may run it, on a copy or beside the writer. `LOG_CORRUPT` with the file
 * that is wrong; otherwise the head.
 */
export function checkLog(directory: string, keys?: LogPublicKeys): Checkpoint {
  const reader = new LogReader(directory);
  const head = reader.head();
  reader.requireNotBehind(head);
  let lastTime = 0;
  for (const { index, hashes } of reader.leafTiles(head.size)) {
    const width = hashes.length / HASH_BYTES;
    const leaves = concat(...reader.bundle(index, width).entries.map(leafHash));
    if (!equalBytes(leaves, hashes)) throw wrong(tileFile('entries', index));
    for (const time of reader.times(index, width)) {
      if (time < lastTime) throw wrong(timesFile(index));
      lastTime = time;
    }
  }
  checkTiles(reader, head.size);
  const edges = reader.edges(head.size);
  const root = rootOf(
    head.size,
    nodesFromTiles((level) => edges[level] ?? concat()),
  );
  if (!equalBytes(root, head.root)) throw wrong('head');
  if (keys !== undefined) checkSigned(reader, head, keys);
  return head;
}

function checkTiles(reader: LogReader, size: number): void {
  for (let level = 1; hashesAt(level, size) > 0; level++) {
    const count = hashesAt(level, size);
    for (let i = 0; i < count; i++) {
      const tile = Math.floor(i / TILE_WIDTH);
      const at = i % TILE_WIDTH;
      const above = reader.tile(level, tile, at + 1).subarray(at * HASH_BYTES);
      if (!equalBytes(above, hashTile(reader.tile(level - 1, i, TILE_WIDTH), 0, TILE_WIDTH))) {
        throw wrong(tileFile(level, tile));
      }
    }
  }
}

function checkSigned(reader: LogReader, head: Checkpoint, keys: LogPublicKeys): void {
  const c2sp = reader.text('checkpoint');
  const sigstore = reader.text('checkpoint.sigstore');
  if (c2sp === undefined || !sameHead(verifyC2sp(c2sp, head, keys), head)) throw wrong('checkpoint');
  if (sigstore === undefined || !sameHead(verifySigstore(sigstore, head, keys), head)) {
    throw wrong('checkpoint.sigstore');
  }
}

function verifyC2sp(note: string, head: Checkpoint, { ed25519 }: LogPublicKeys): Checkpoint {
  const log = verifierKeyOf(c2spOrigin(head.origin), NOTE_KEY, ed25519Raw(ed25519));
  return { ...verifyC2spCheckpoint(parseNote(note), log), origin: head.origin };
}

function verifySigstore(note: string, head: Checkpoint, { p256 }: LogPublicKeys): Checkpoint {
  return verifySigstoreCheckpoint(note, p256, spkiOf(p256), head.origin);
}

function wrong(name: string) {
  return tlogError('LOG_CORRUPT', 'This part of the log is not what the rest of it says.', { pointer: name });
}
