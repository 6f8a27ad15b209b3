import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Reader } from '../src/index.ts';
import { code } from './refuses.ts';

/** Every fixed-width read, with its width and what it makes of `01 02 03 …`. */
const FIELDS: readonly [name: string, width: number, read: (r: Reader) => number | bigint, value: bigint][] =
  [
    ['u8', 1, (r) => r.u8(), 0x01n],
    ['u16', 2, (r) => r.u16(), 0x0102n],
    ['u32', 4, (r) => r.u32(), 0x01020304n],
    ['u64', 8, (r) => r.u64(), 0x0102030405060708n],
    ['u16le', 2, (r) => r.u16le(), 0x0201n],
    ['u32le', 4, (r) => r.u32le(), 0x04030201n],
    ['u64le', 8, (r) => r.u64le(), 0x0807060504030201n],
  ];

const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i + 1);

describe('a reader', () => {
  test.each(FIELDS)('reads %s in its byte order and moves on by its width', (_, width, read, value) => {
    const reader = new Reader(counting(width));
    expect(BigInt(read(reader))).toBe(value);
    expect(reader.offset).toBe(width);
    reader.end();
  });

  test.each(FIELDS)('refuses %s that is one byte short, and reads nothing of it', (_, width, read) => {
    const reader = new Reader(counting(width - 1));
    expect(() => read(reader)).toThrow(code('CODEC_TRUNCATED', 'offset 0'));
    expect(reader.offset).toBe(0);
    expect(BigInt(read(new Reader(counting(width))))).toBeGreaterThan(0n);
  });

  test('reads unsigned: the highest bit is no sign', () => {
    const ones = () => new Reader(new Uint8Array(8).fill(0xff));
    expect(ones().u8()).toBe(0xff);
    expect(ones().u16()).toBe(0xffff);
    expect(ones().u32()).toBe(0xffff_ffff);
    expect(ones().u32le()).toBe(0xffff_ffff);
    expect(ones().u64()).toBe(0xffff_ffff_ffff_ffffn);
  });

  test('refuses a length that reaches past the end, and takes the one that reaches it', () => {
    // The length field is the sender's word; the bytes are what came.
    const message = (length: number) => new Reader(Uint8Array.of(0, length, 7, 7, 7));
    const lying = message(4);
    expect(() => lying.bytes(lying.u16())).toThrow(code('CODEC_TRUNCATED', 'offset 2'));
    const honest = message(3);
    expect(honest.bytes(honest.u16())).toEqual(Uint8Array.of(7, 7, 7));
    honest.end();
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses to read %d bytes', (count) => {
    const reader = new Reader(counting(4));
    expect(() => reader.bytes(count)).toThrow(code('CODEC_TRUNCATED'));
    expect(reader.offset).toBe(0);
    expect(reader.bytes(4)).toEqual(counting(4));
  });

  test('refuses trailing bytes and says where they begin', () => {
    const reader = new Reader(counting(3));
    reader.u16();
    expect(() => reader.end()).toThrow(code('CODEC_TRAILING', 'offset 2'));
    reader.u8();
    reader.end();
  });

  test('names what it was reading, for the person who reads the refusal', () => {
    const reader = new Reader(counting(1));
    expect(() => reader.u16('The PCR count')).toThrow(
      'The PCR count needs 2 bytes at offset 0, but 1 are left.',
    );
    expect(() => reader.end('The quote')).toThrow('The quote ends at offset 0, but 1 more bytes follow.');
  });

  test('sees only its own part of a larger buffer', () => {
    const reader = new Reader(counting(10).subarray(2, 5));
    expect(reader.u16()).toBe(0x0304);
    expect(reader.rest()).toEqual(Uint8Array.of(5));
    expect(() => reader.u8()).toThrow(code('CODEC_TRUNCATED'));
    reader.end();
  });

  test('gives views, not copies', () => {
    const bytes = counting(2);
    const view = new Reader(bytes).bytes(2);
    bytes[0] = 9;
    expect(view).toEqual(Uint8Array.of(9, 2));
  });

  test.each([
    ['an array', (bytes: Uint8Array) => bytes],
    ['a Buffer, whose own slices are views', (bytes: Uint8Array) => Buffer.from(bytes.buffer)],
  ])('copies out of %s what is asked for as a copy', (_, from) => {
    const bytes = counting(3);
    const reader = new Reader(from(bytes));
    const copy = reader.copy(2);
    bytes.fill(9);
    expect([...copy]).toEqual([1, 2]);
    expect(reader.offset).toBe(2);
    expect(() => reader.copy(2)).toThrow(code('CODEC_TRUNCATED', 'offset 2'));
    expect([...reader.copy(1)]).toEqual([9]);
  });

  test('reads numbers as a DataView does, wherever they stand', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 24 }), fc.nat({ max: 16 }), (bytes, skip) => {
        fc.pre(skip + 8 <= bytes.length);
        const view = new DataView(bytes.buffer, bytes.byteOffset + skip);
        const read = (by: (reader: Reader) => number | bigint) => by(new Reader(bytes.subarray(skip)));
        expect(read((r) => r.u16())).toBe(view.getUint16(0));
        expect(read((r) => r.u32())).toBe(view.getUint32(0));
        expect(read((r) => r.u64())).toBe(view.getBigUint64(0));
        expect(read((r) => r.u16le())).toBe(view.getUint16(0, true));
        expect(read((r) => r.u32le())).toBe(view.getUint32(0, true));
        expect(read((r) => r.u64le())).toBe(view.getBigUint64(0, true));
      }),
    );
  });

  test('counts every byte once, whatever is read', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(fc.nat({ max: 9 })), (bytes, counts) => {
        const reader = new Reader(bytes);
        const parts: number[] = [];
        for (const count of counts) {
          if (count <= reader.remaining) parts.push(...reader.bytes(count));
          else expect(() => reader.bytes(count)).toThrow(code('CODEC_TRUNCATED'));
          expect(reader.offset + reader.remaining).toBe(bytes.length);
        }
        parts.push(...reader.rest());
        reader.end();
        expect(parts).toEqual([...bytes]);
      }),
    );
  });
});
