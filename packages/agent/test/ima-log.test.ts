import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concat, utf8 } from '@kallio/codec';
import { readImaLog } from '@kallio/evidence';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImaLog } from '../src/measurements/ima-log.ts';

let dir: string;
let path: string;
let log: ImaLog;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-ima-'));
  path = join(dir, 'binary_runtime_measurements');
  log = new ImaLog(path, join(dir, 'runtime_measurements_count'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** Entry `i`, as the kernel writes it; every seventh is a large one, every ninth of the oldest template. */
function entry(i: number): Uint8Array {
  const digest = new Uint8Array(20).fill(i % 251);
  const name = `/usr/bin/tool-${i}`;
  if (i % 9 === 8) return concat(u32(10), digest, u32(3), utf8('ima'), digest, u32(name.length), utf8(name));
  const fields = [concat(utf8('sha256:\0'), new Uint8Array(32).fill(i % 251)), utf8(`${name}\0`)];
  const sig = i % 7 === 6 ? [new Uint8Array(70_000).fill(i % 251)] : [];
  const data = concat(...[...fields, ...sig].flatMap((field) => [u32(field.length), field]));
  const template = sig.length === 0 ? 'ima-ng' : 'ima-sig';
  return concat(u32(10), digest, u32(template.length), utf8(template), u32(data.length), data);
}

const entries = (from: number, to: number) =>
  concat(...Array.from({ length: to - from }, (_, i) => entry(from + i)));
const all = Number.MAX_SAFE_INTEGER;

describe('the kernel’s measurement list', () => {
  it('is undefined where the kernel has none', async () => {
    expect(await log.read(0, all)).toBeUndefined();
    expect(await log.count()).toBeUndefined();
  });

  it('is read from any entry on, also where entries are longer than what is read at once', async () => {
    writeFileSync(path, entries(0, 60));
    for (const from of [0, 59, 7, 30, 60, 8]) {
      expect(await log.read(from, all)).toEqual({ from, entries: entries(from, 60), end: 60, more: false });
    }
  });

  it('is read on from where it ended when it has grown, and again from the start by another process', async () => {
    writeFileSync(path, entries(0, 20));
    await log.read(0, all);
    appendFileSync(path, entries(20, 25));
    const grown = { from: 20, entries: entries(20, 25), end: 25, more: false };
    expect(await log.read(20, all)).toEqual(grown);
    expect(await new ImaLog(path, '').read(20, all)).toEqual(grown);
  });

  it('is cut between entries, at least one at a time, and the pieces are the whole', async () => {
    writeFileSync(path, entries(0, 40));
    const pieces: Uint8Array[] = [];
    let from = 0;
    for (let more = true; more; ) {
      const piece = await log.read(from, 1000);
      if (piece === undefined || piece.end === from) throw new Error('no progress');
      // Each piece is a list of its own.
      expect([...readImaLog(piece.entries, { from })].length).toBe(piece.end - from);
      pieces.push(piece.entries);
      ({ end: from, more } = piece);
    }
    expect(pieces.length).toBeGreaterThan(10);
    expect(Buffer.compare(concat(...pieces), entries(0, 40))).toBe(0);
  });

  it('that ends before the place is another one: it is read from its start', async () => {
    writeFileSync(path, entries(100, 103));
    expect(await log.read(30, all)).toEqual({ from: 0, entries: entries(100, 103), end: 3, more: false });
  });

  it('that ends in an entry, or is none, is refused', async () => {
    writeFileSync(path, entries(0, 3).subarray(0, -1));
    await expect(log.read(0, all)).rejects.toMatchObject({
      code: 'MEASUREMENTS_UNREADABLE',
      pointer: 'ima:2',
    });
    writeFileSync(path, utf8('this is a text of some length, and no measurement list at all'));
    await expect(log.read(0, all)).rejects.toMatchObject({ code: 'MEASUREMENTS_UNREADABLE' });
    writeFileSync(path, entries(0, 3));
    expect((await log.read(0, all))?.end).toBe(3);
  });

  it('says how long it is without being read', async () => {
    writeFileSync(join(dir, 'runtime_measurements_count'), '1234\n');
    expect(await log.count()).toBe(1234);
  });
});
