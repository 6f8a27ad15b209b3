import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { concat, toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeImaEntry,
  type ImaEntry,
  ImaLogReader,
  ImaReplay,
  ImaTextReader,
  readImaLog,
  readImaText,
} from '../src/index.ts';
import { u32le } from './support/bytes.ts';
import { captured, pcrsOf, pcrValue } from './support/captured.ts';
import { binaryEntry, digestField, entryOffsets, nameField, pcr10, textEntry } from './support/ima.ts';
import { code } from './support/refusal.ts';

// Lists that arrive in pieces: a file of a machine that has run for a year is longer than the memory that is there.

const list = captured('q1.ima.bin');

/** What a list in pieces leads to, and how many entries it has. */
function replayOf(pieces: Iterable<Uint8Array>): { readonly pcr: string; readonly entries: number } {
  const reader = new ImaLogReader();
  const replay = new ImaReplay('sha256');
  for (const piece of pieces) for (const entry of reader.push(piece)) replay.extend(entry);
  reader.end();
  const { pcr, entries } = replay.state;
  return { pcr: toHex(pcr), entries };
}

function* piecesOf(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  // One memory for all pieces, as whoever reads a file has.
  const memory = new Uint8Array(Math.max(...sizes));
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = Math.min(sizes[i % sizes.length] ?? 1, bytes.length - at);
    memory.set(bytes.subarray(at, at + size));
    yield memory.subarray(0, size);
    memory.fill(0xff);
    at += size;
  }
}

describe('an IMA list in pieces', () => {
  test('leads to the quoted PCR 10 wherever it is cut', () => {
    const quoted = pcrValue(pcrsOf('debian12-qemu/q1', 15), 10);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 9 }), (sizes) => {
        expect(replayOf(piecesOf(list, sizes))).toEqual({
          pcr: quoted,
          entries: entryOffsets(list).length - 1,
        });
      }),
      { numRuns: 50 },
    );
  });

  test('of every template is read byte by byte as it is read whole', () => {
    const digest = digestField('sha256', new Uint8Array(32).fill(7));
    const all = concat(
      ...[
        { template: 'ima', fields: [new Uint8Array(20), utf8('/bin/a b')] },
        { template: 'ima-ng', fields: [digest, nameField('/bin/a\nb')] },
        { template: 'ima-sig', fields: [digest, nameField('/bin/c'), new Uint8Array(70_000).fill(3)] },
        { template: 'ima', fields: [new Uint8Array(20), utf8('')] },
      ].map(binaryEntry),
    );
    const reader = new ImaLogReader();
    const names: string[] = [];
    for (const piece of piecesOf(all, [1])) {
      for (const entry of reader.push(piece)) names.push(decodeImaEntry(entry).name);
    }
    reader.end();
    expect(names).toEqual(['/bin/a b', '/bin/a\nb', '/bin/c', '']);
    expect(replayOf(piecesOf(all, [1])).pcr).toBe(pcr10(all));
  });

  test('is refused where it ends inside an entry, with the entry’s number', () => {
    // Stops the last program that ran from being cut off half-way.
    const ends = new Set(entryOffsets(list));
    for (let length = 1; length < 1000; length++) {
      const pieces = [...piecesOf(list.subarray(0, length), [97])].map((piece) => piece.slice());
      const whole = [...entryOffsets(list)].findIndex((offset) => length < offset) - 1;
      const read = () => {
        const reader = new ImaLogReader();
        for (const piece of piecesOf(list.subarray(0, length), [97])) [...reader.push(piece)];
        reader.end();
      };
      expect(pieces.length).toBeGreaterThan(0);
      if (ends.has(length)) expect(read).not.toThrow();
      else expect(read).toThrow(code('IMA_MALFORMED', `ima:${whole}`));
    }
  });

  test('is refused when it waits for an entry of gigabytes, before anything is kept of it', () => {
    const entry = binaryEntry({ template: 'ima-ng', fields: [utf8('x')] });
    const huge = entry.slice();
    huge.set(u32le(0x7fff_ffff), 4 + 20 + 4 + 6);
    expect(() => [...new ImaLogReader({ from: 5 }).push(huge)]).toThrow(code('IMA_TOO_LARGE', 'ima:5'));
    expect([...new ImaLogReader({ from: 5 }).push(entry)]).toHaveLength(1);
  });

  test('is refused past the bytes that it may have', () => {
    const reader = new ImaLogReader({ maxBytes: list.length });
    expect([...reader.push(list)]).toHaveLength([...readImaLog(list)].length);
    expect(() => [...reader.push(Uint8Array.of(10))]).toThrow(code('IMA_TOO_LARGE'));
  });

  test('of a million entries, over 64 MB, is replayed in memory that does not grow', {
    timeout: 120_000,
  }, () => {
    // Stops a machine that has measured much from taking the memory of whoever judges it.
    const entry = (i: number) =>
      binaryEntry({
        template: 'ima-ng',
        fields: [digestField('sha256', new Uint8Array(32).fill(i)), nameField(`/usr/lib/x86_64/${i}`)],
      });
    const block = concat(...Array.from({ length: 1000 }, (_, i) => entry(i)));
    expect(block.length * 1000).toBeGreaterThan(64 * 1024 * 1024);
    const reader = new ImaLogReader();
    const replay = new ImaReplay('sha256');
    const kept: number[] = [];
    for (let round = 0; round < 1000; round++) {
      for (const one of reader.push(block)) {
        replay.extend(one);
        decodeImaEntry(one);
      }
      if (round % 111 === 110) kept.push(keptBytes());
    }
    reader.end();
    expect(replay.state.entries).toBe(1_000_000);
    expect(Math.max(...kept) - (kept[0] ?? 0)).toBeLessThan(2 * 1024 * 1024);
  });
});

describe('an ASCII IMA list in pieces', () => {
  const text = new TextDecoder().decode(captured('q1.ima.txt'));
  const line = (name: string) => {
    const fields = [digestField('sha256', new Uint8Array(32).fill(7)), nameField(name)];
    return textEntry({ template: 'ima-ng', fields }, [`sha256:${'07'.repeat(32)}`, name]);
  };

  test('is read as it is read whole, wherever it is cut', () => {
    const hostile = `${line('/a\nb')}${line('/tmp/x\n10 ')}${line('')}${line('/c d')}`.slice(0, -1);
    for (const list of [text, hostile]) {
      const whole = [...readImaText(list)];
      fc.assert(
        fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 9 }), (sizes) => {
          const reader = new ImaTextReader();
          const entries: ImaEntry[] = [];
          for (let at = 0, i = 0; at < list.length; i++) {
            const size = sizes[i % sizes.length] ?? 1;
            entries.push(...reader.push(list.slice(at, at + size)));
            at += size;
          }
          entries.push(...reader.end());
          expect(entries).toEqual(whole);
        }),
        { numRuns: 30 },
      );
    }
  });

  test('is refused when a line of it does not end', () => {
    const reader = new ImaTextReader({ from: 3 });
    const piece = 'a'.repeat(1024 * 1024);
    expect(() => {
      for (let i = 0; i < 40; i++) [...reader.push(piece)];
    }).toThrow(code('IMA_TOO_LARGE', 'ima:3'));
    expect([...new ImaTextReader().push(line('/a') + line('/b'))]).toHaveLength(1);
  });
});

/** Bytes in use once what nobody holds has been collected. */
function keptBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
