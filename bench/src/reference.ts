import { randomBytes, randomInt } from 'node:crypto';
import { parseReferenceSet, type ReferenceSet, referenceSetOf } from '@kallio/appraisal';
import { concat, sha256 } from '@kallio/codec';
import { median, type Row } from './row.ts';

const LENGTH = 32;
const FEW = 10;
const MANY = 10_000_000;
const PROBES = 100_000;
const ROUNDS = 9;

/**
 * Looking digests up among ten and among ten million. Beside the bare lookup stands what a lookup is part of: judging an
 * IMA entry, which hashes it twice. Ten values lie in the processor's first cache and ten million in none of them, so
 * the bare lookup waits for memory: at most twice in the index and the digests, whatever their number. That is what the
 * bar of the first row allows, and no more; the work that the entry costs anyway is the second.
 */
export async function run(): Promise<Row[]> {
  const many = ascending(MANY);
  const few = referenceSetOf(
    'file',
    LENGTH,
    Array.from({ length: FEW }, () => new Uint8Array(randomBytes(LENGTH))),
  );
  const sets = [
    { set: few, probes: probes(few) },
    { set: many, probes: probes(many) },
  ] as const;
  for (const { set, probes } of sets) check(set, probes);
  const bare = nanoseconds(sets, (set, probe) => set.has(probe));
  const entry = new Uint8Array(64);
  const judged = nanoseconds(sets, (set, probe) => {
    entry.set(probe);
    entry.set(sha256(entry), 32);
    return sha256(entry).length > 0 && set.has(probe);
  });
  return [
    row('lookup among ten million', bare, 'ratio >= 0.1', 0.1),
    row('lookup and two SHA-256, as an IMA entry costs, among ten million', judged, 'ratio >= 0.7', 0.7),
  ];
}

function row(name: string, [few = 0, many = 0]: readonly number[], bar: string, least: number): Row {
  const figure = 1e9 / many;
  const besideFigure = 1e9 / few;
  const ratio = figure / besideFigure;
  return {
    name,
    figure,
    unit: 'lookups/s',
    beside: 'the same among ten',
    besideFigure,
    ratio,
    bar,
    holds: ratio >= least,
  };
}

/** A set as its file gives it. Digests are spread evenly, as SHA-256 spreads them, and made in order. */
function ascending(count: number): ReferenceSet {
  const empty = referenceSetOf('file', LENGTH, []).toBytes();
  const digests = new Uint8Array(randomBytes(count * LENGTH));
  const head = new DataView(empty.buffer, empty.byteOffset, empty.length);
  head.setUint32(12, count);
  const view = new DataView(digests.buffer);
  const step = Math.floor(2 ** 32 / count);
  for (let i = 0; i < count; i++) view.setUint32(i * LENGTH, i * step + (view.getUint32(i * LENGTH) % step));
  return parseReferenceSet(concat(empty, digests));
}

interface Probes {
  readonly known: readonly Uint8Array[];
  readonly unknown: readonly Uint8Array[];
}

/** Half of them are in the set, in no order. */
function probes(set: ReferenceSet): Probes {
  const bytes = set.toBytes().subarray(16);
  const half = PROBES / 2;
  const known = Array.from({ length: half }, () => {
    const at = randomInt(set.count) * LENGTH;
    return bytes.slice(at, at + LENGTH);
  });
  const random = new Uint8Array(randomBytes(half * LENGTH));
  const unknown = known.map((_, i) => random.slice(i * LENGTH, (i + 1) * LENGTH));
  return { known, unknown };
}

function check(set: ReferenceSet, { known, unknown }: Probes): void {
  if (!known.every((one) => set.has(one)) || unknown.some((one) => set.has(one))) {
    throw new Error('the set does not know what it holds');
  }
}

/**
 * Of one probe into each set, the median over rounds, by the time that the processor gave to it. The sets take turns, so
 * that a busy machine is busy for both.
 */
function nanoseconds(
  sets: readonly { readonly set: ReferenceSet; readonly probes: Probes }[],
  probe: (set: ReferenceSet, digest: Uint8Array) => boolean,
): number[] {
  const shuffled = sets.map(({ set, probes: { known, unknown } }) => ({
    set,
    all: known.flatMap((one, i) => [one, unknown[i] ?? one]),
    took: [] as number[],
  }));
  for (let round = -2; round < ROUNDS; round++) {
    for (const { set, all, took } of shuffled) {
      let found = 0;
      const started = process.cpuUsage();
      for (const one of all) if (probe(set, one)) found++;
      const { user, system } = process.cpuUsage(started);
      const nanoseconds = ((user + system) * 1000) / all.length;
      if (found * 2 !== all.length) throw new Error('a digest was found, or missed, that should not be');
      if (round >= 0) took.push(nanoseconds);
    }
  }
  return shuffled.map(({ took }) => median(took));
}
