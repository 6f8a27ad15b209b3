import { KallioError, utf8 } from '@kallio/codec';
import type { MakeTarget, Target } from '../src/target.ts';

/** Targets with a mistake in them. */
export const TARGETS: ReadonlyMap<string, MakeTarget> = new Map<string, MakeTarget>([
  ['sound', () => planted(() => undefined)],
  ['behind two refusals', () => planted((second) => second === 0x80 && missing())],
  ['without end', () => planted((second) => second === 0x80 && forever())],
  ['without bound', () => planted((second) => second === 0x80 && everything())],
  ['that refuses what is honest', () => ({ ...planted(() => undefined), seeds: [utf8('no')] })],
]);

/** Reads an A, then a B and a byte: each that is missing is refused in its own way. */
function planted(then: (byte: number) => unknown): Target {
  return {
    seeds: [utf8('AB ok')],
    take(input) {
      if (input[0] !== 0x41) throw new KallioError('FIRST', 'There is no A.');
      if (input[1] !== 0x42) throw new KallioError('SECOND', 'There is no B.');
      if (input.length !== 5) throw new KallioError('LENGTH', 'It is not as long as it should be.');
      then(input[2] ?? 0);
    },
  };
}

function missing(): void {
  const nothing: string[] = [];
  nothing[0]?.trim();
  throw new TypeError('nothing is there');
}

function forever(): void {
  for (;;) Math.random();
}

function everything(): void {
  const held: number[][] = [];
  for (;;) held.push(new Array(100_000).fill(1.5));
}
