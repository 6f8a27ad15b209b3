import { mutateJson } from './mutate-json.ts';
import type { Random } from './random.ts';

/** What is hard on parsers: lengths and counts at the edges of their types. */
const EDGES: readonly number[] = [
  0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000,
];
/** The longest input that is made, in bytes. */
export const MAX_INPUT = 1024 * 1024;

/** A changed copy of `input`, changed in a few places; `other` lends pieces. */
export function mutate(random: Random, input: Uint8Array, other: Uint8Array): Uint8Array {
  if (random.oneIn(2)) {
    const changed = mutateJson(random, input);
    if (changed !== undefined) return changed.subarray(0, MAX_INPUT);
  }
  let bytes: Uint8Array = new Uint8Array(input);
  for (let times = 1 + random.below(4); times > 0; times--) bytes = random.of(CHANGES)(random, bytes, other);
  return bytes.subarray(0, MAX_INPUT);
}

type Change = (random: Random, bytes: Uint8Array, other: Uint8Array) => Uint8Array;

const CHANGES: readonly Change[] = [
  function flipBit(random, bytes) {
    return set(bytes, random.below(bytes.length), (byte) => byte ^ (1 << random.below(8)));
  },
  function otherByte(random, bytes) {
    return set(bytes, random.below(bytes.length), () => random.below(256));
  },
  function nextByte(random, bytes) {
    return set(bytes, random.below(bytes.length), (byte) => byte + (random.oneIn(2) ? 1 : 255));
  },
  function edge(random, bytes) {
    const width = random.of([1, 2, 4, 8]);
    const value = BigInt(random.of(EDGES));
    const at = random.below(bytes.length);
    const little = random.oneIn(2);
    let changed = bytes;
    for (let i = 0; i < width; i++) {
      const shift = BigInt(8 * (little ? i : width - 1 - i));
      changed = set(changed, at + i, () => Number((value >> shift) & 0xffn));
    }
    return changed;
  },
  function leaveOut(random, bytes) {
    const [from, to] = range(random, bytes);
    return replaced(bytes, from, to, new Uint8Array(0));
  },
  function cutOff(random, bytes) {
    return bytes.subarray(0, random.below(bytes.length + 1));
  },
  function twice(random, bytes) {
    const [from, to] = range(random, bytes);
    return replaced(bytes, to, to, bytes.subarray(from, to));
  },
  function manyTimes(random, bytes) {
    const [from, to] = range(random, bytes);
    const piece = bytes.subarray(from, Math.min(to, from + 64));
    const many = new Uint8Array(piece.length * random.of([2, 16, 256]));
    for (let at = 0; at < many.length; at += piece.length) many.set(piece, at);
    return replaced(bytes, from, from, many);
  },
  function moved(random, bytes) {
    const [from, to] = range(random, bytes);
    const piece = bytes.slice(from, to);
    const rest = replaced(bytes, from, to, new Uint8Array(0));
    const at = random.below(rest.length + 1);
    return replaced(rest, at, at, piece);
  },
  function anothers(random, bytes, other) {
    const [from, to] = range(random, bytes);
    const [otherFrom, otherTo] = range(random, other);
    return replaced(bytes, from, random.oneIn(2) ? from : to, other.subarray(otherFrom, otherTo));
  },
  function digit(random, bytes) {
    const digits = [...bytes.keys()].filter((at) => (bytes[at] ?? 0) >= 0x30 && (bytes[at] ?? 0) <= 0x39);
    return digits.length === 0 ? bytes : set(bytes, random.of(digits), () => 0x30 + random.below(10));
  },
];

function set(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  const byte = bytes[at];
  if (byte !== undefined) bytes[at] = change(byte) & 0xff;
  return bytes;
}

/** Mostly a short one: a long one leaves little of what is honest. */
function range(random: Random, bytes: Uint8Array): readonly [from: number, to: number] {
  const from = random.below(bytes.length + 1);
  const longest = random.oneIn(4) ? bytes.length : 32;
  return [from, Math.min(bytes.length, from + random.below(longest + 1))];
}

function replaced(bytes: Uint8Array, from: number, to: number, by: Uint8Array): Uint8Array {
  const changed = new Uint8Array(from + by.length + (bytes.length - to));
  changed.set(bytes.subarray(0, from));
  changed.set(by, from);
  changed.set(bytes.subarray(to), from + by.length);
  return changed;
}
