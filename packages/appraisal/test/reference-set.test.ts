import { createHash } from 'node:crypto';
import { concat, fromHex, toHex } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { type DigestKind, parseReferenceSet, referenceSetOf } from '../src/index.ts';

const digest = (name: string, algorithm = 'sha256') =>
  new Uint8Array(createHash(algorithm).update(name).digest());
const some = (count: number, algorithm?: string) =>
  Array.from({ length: count }, (_, i) => digest(`file ${i}`, algorithm));

describe('a reference set', () => {
  it.each<[number, DigestKind, string]>([
    [0, 'file', 'sha256'],
    [1, 'file', 'sha256'],
    [2, 'verity', 'sha256'],
    [9, 'file', 'sha384'],
    [1000, 'file', 'sha512'],
    [20_000, 'verity', 'sha256'],
  ])(
    'of %d digests (%s, %s) knows each of them and no other, also after a file',
    (count, kind, algorithm) => {
      const digests = some(count, algorithm);
      const made = referenceSetOf(kind, digest('', algorithm).length, [...digests, ...digests.slice(0, 3)]);
      const read = parseReferenceSet(made.toBytes());
      for (const set of [made, read]) {
        expect(set).toMatchObject({ kind, count });
        expect(digests.every((one) => set.has(one))).toBe(true);
        for (let i = 0; i < 2000; i++) expect(set.has(digest(`other ${i}`, algorithm))).toBe(false);
      }
      expect(read.toBytes()).toEqual(made.toBytes());
    },
  );

  it('tells digests apart by every byte, and by their length', () => {
    const one = digest('one');
    const set = referenceSetOf('file', 32, [one]);
    for (let bit = 0; bit < 256; bit++) {
      const other = one.slice();
      other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(set.has(other), `bit ${bit}`).toBe(false);
    }
    expect(set.has(one.subarray(0, 31))).toBe(false);
    expect(set.has(concat(one, new Uint8Array(16)))).toBe(false);
    expect(set.has(new Uint8Array())).toBe(false);
    expect(set.has(one)).toBe(true);
  });

  it('knows several at a time as it knows each', () => {
    const alike = Array.from({ length: 40 }, (_, i) =>
      concat(digest('alike').subarray(0, 31), Uint8Array.of(i)),
    );
    const sets = [some(5000), alike, [...some(5000), ...alike], []].map((digests) =>
      referenceSetOf('file', 32, digests),
    );
    const asked = [...some(6000).slice(4900), ...alike, digest('none'), digest('none', 'sha384')].flatMap(
      (one) => [
        one,
        // The same leading bytes, and another digest.
        concat(one.subarray(0, one.length - 1), Uint8Array.of(0x77)),
      ],
    );
    for (const length of [32, 48]) {
      const those = asked.filter((one) => one.length === length);
      // One behind the other, each at a place of its own kind.
      const data = concat(...those.flatMap((one, i) => [new Uint8Array(i % 5), one]), new Uint8Array(3));
      const starts = new Uint32Array(those.length + 1);
      let at = 0;
      for (const [i, one] of those.entries()) {
        starts[i] = at + (i % 5);
        at += (i % 5) + one.length;
      }
      const view = new DataView(data.buffer, data.byteOffset, data.length);
      for (const set of sets) {
        const found = new Uint8Array(those.length);
        set.hasEach({ view, starts, count: those.length, length }, found);
        expect([...found]).toEqual(those.map((one) => (set.has(one) ? 1 : 0)));
      }
    }
  });

  it('finds digests that begin alike', () => {
    const alike = Array.from({ length: 500 }, (_, i) =>
      concat(new Uint8Array(28), Uint8Array.of(0, 0, i >> 8, i)),
    );
    const set = referenceSetOf('file', 32, alike);
    expect(alike.every((one) => set.has(one))).toBe(true);
    expect(set.has(new Uint8Array(32).fill(0xff))).toBe(false);
  });
});

describe('a reference-set file', () => {
  const good = referenceSetOf('file', 32, some(3)).toBytes();
  const changed = (at: number, ...bytes: number[]) => {
    const out = good.slice();
    out.set(bytes, at);
    return out;
  };
  const swapped = concat(
    good.subarray(0, 16),
    good.subarray(48, 80),
    good.subarray(16, 48),
    good.subarray(80),
  );
  const twice = concat(good.subarray(0, 48), good.subarray(16, 48), good.subarray(80));

  it('lies in bytes as docs/formats.md says', () => {
    expect(toHex(good.subarray(0, 16))).toBe('4b414c4c494f5253 01 00 0020 00000003'.replaceAll(' ', ''));
    expect(good.length).toBe(16 + 3 * 32);
    expect(parseReferenceSet(good).has(digest('file 2'))).toBe(true);
  });

  it.each<[string, Uint8Array, string, string]>([
    ['nothing in it', new Uint8Array(), 'REFERENCE_SET_MALFORMED', 'offset 0'],
    ['a header cut off', good.subarray(0, 15), 'REFERENCE_SET_MALFORMED', 'offset 0'],
    ['another magic', changed(0, 0x6b), 'REFERENCE_SET_MALFORMED', 'offset 0'],
    ['another version', changed(8, 2), 'REFERENCE_SET_VERSION', 'offset 8'],
    ['an unknown kind of digest', changed(9, 2), 'REFERENCE_SET_MALFORMED', 'offset 9'],
    ['SHA-1', changed(10, 0, 20), 'REFERENCE_SET_MALFORMED', 'offset 9'],
    ['digests of no length', changed(10, 0, 0), 'REFERENCE_SET_MALFORMED', 'offset 9'],
    ['fewer digests than it promises', changed(12, 0, 0, 0, 4), 'REFERENCE_SET_MALFORMED', 'offset 12'],
    ['more digests than it promises', changed(12, 0, 0, 0, 2), 'REFERENCE_SET_MALFORMED', 'offset 12'],
    ['a byte after the end', concat(good, Uint8Array.of(0)), 'REFERENCE_SET_MALFORMED', 'offset 12'],
    ['the last byte cut off', good.subarray(0, -1), 'REFERENCE_SET_MALFORMED', 'offset 12'],
    ['two digests exchanged', swapped, 'REFERENCE_SET_ORDER', 'offset 48'],
    ['a digest twice', twice, 'REFERENCE_SET_ORDER', 'offset 48'],
  ])('is refused with %s', (_, bytes, code, pointer) => {
    expect(() => parseReferenceSet(bytes)).toThrow(expect.objectContaining({ code, pointer }));
  });

  it('is not made of digests of several lengths', () => {
    expect(() => referenceSetOf('file', 32, [fromHex('00'.repeat(48))])).toThrow(RangeError);
    expect(() => referenceSetOf('file', 20, [])).toThrow(RangeError);
  });
});
