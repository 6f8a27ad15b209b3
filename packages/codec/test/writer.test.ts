import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, Reader, toHex, Writer } from '../src/index.ts';
import { code } from './refuses.ts';

type Field =
  | { readonly kind: 'u8' | 'u16' | 'u32'; readonly value: number }
  | { readonly kind: 'u64'; readonly value: bigint }
  | { readonly kind: 'bytes'; readonly value: Uint8Array };

const field: fc.Arbitrary<Field> = fc.oneof(
  fc.record({ kind: fc.constant('u8' as const), value: fc.nat({ max: 0xff }) }),
  fc.record({ kind: fc.constant('u16' as const), value: fc.nat({ max: 0xffff }) }),
  fc.record({ kind: fc.constant('u32' as const), value: fc.nat({ max: 0xffff_ffff }) }),
  fc.record({
    kind: fc.constant('u64' as const),
    value: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  }),
  fc.record({ kind: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 40 }) }),
);

function write(writer: Writer, { kind, value }: Field): Writer {
  switch (kind) {
    case 'u64':
      return writer.u64(value);
    case 'bytes':
      return writer.bytes(value);
    default:
      return writer[kind](value);
  }
}

function read(reader: Reader, { kind, value }: Field): Field['value'] {
  return kind === 'bytes' ? reader.bytes(value.length) : reader[kind]();
}

describe('a writer', () => {
  test('writes big-endian, in order', () => {
    const writer = new Writer().u8(1).u16(0x0203).u32(0x04050607).u64(0x08090a0b0c0d0e0fn);
    expect(toHex(writer.bytes(Uint8Array.of(0xff)).finish())).toBe('0102030405060708090a0b0c0d0e0fff');
    expect(writer.length).toBe(16);
  });

  test('writes what a reader reads back, from any first capacity', () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 30 }), fc.nat({ max: 64 }), (fields, capacity) => {
        const writer = new Writer(capacity);
        for (const one of fields) write(writer, one);
        const bytes = writer.finish();
        expect(bytes.length).toBe(writer.length);
        const reader = new Reader(bytes);
        for (const one of fields) expect(read(reader, one)).toEqual(one.value);
        reader.end();
      }),
    );
  });

  // A field that makes the buffer grow goes into the buffer that grew.
  test.each<Field>([
    { kind: 'u8', value: 0xab },
    { kind: 'u16', value: 0xabcd },
    { kind: 'u32', value: 0xabcdef01 },
    { kind: 'u64', value: 0xabcdef0123456789n },
    { kind: 'bytes', value: new Uint8Array(600).fill(0xab) },
  ])('grows for a $kind at the end of its first buffer', (last) => {
    const full = new Uint8Array(256).fill(1);
    const expected = concat(full, write(new Writer(1024), last).finish());
    expect(write(new Writer().bytes(full), last).finish()).toEqual(expected);
  });

  test.each<[string, (w: Writer) => Writer, (w: Writer) => Writer]>([
    ['u8', (w) => w.u8(0x100), (w) => w.u8(0xff)],
    ['u16', (w) => w.u16(0x1_0000), (w) => w.u16(0xffff)],
    ['u32', (w) => w.u32(0x1_0000_0000), (w) => w.u32(0xffff_ffff)],
    ['u64', (w) => w.u64(0x1_0000_0000_0000_0000n), (w) => w.u64(0xffff_ffff_ffff_ffffn)],
    ['u8 below zero', (w) => w.u8(-1), (w) => w.u8(0)],
    ['u64 below zero', (w) => w.u64(-1n), (w) => w.u64(0n)],
    ['u16 of a fraction', (w) => w.u16(1.5), (w) => w.u16(1)],
    ['u32 of no number', (w) => w.u32(Number.NaN), (w) => w.u32(0)],
  ])('refuses %s out of range and writes nothing; the last value in range is written', (_, over, within) => {
    const writer = new Writer().u8(7);
    expect(() => over(writer)).toThrow(code('CODEC_RANGE'));
    expect(writer.finish()).toEqual(Uint8Array.of(7));
    expect(within(writer).length).toBeGreaterThan(1);
  });

  test('hands out bytes of its own: what is written later does not change them', () => {
    const writer = new Writer().u8(1);
    const first = writer.finish();
    writer.u8(2);
    expect(first).toEqual(Uint8Array.of(1));
    first[0] = 9;
    expect(writer.finish()).toEqual(Uint8Array.of(1, 2));
  });
});
