import { KallioError } from '@kallio/codec';
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import type { Target } from './target.ts';

/** Most inputs that are kept to make others of. */
const MAX_KEPT = 2048;

/** What was done, and came of it. */
export interface Tally {
  runs: number;
  /** Inputs that were taken. */
  taken: number;
  /** Refusals that differ by more than numbers and hexadecimal. */
  refusals: number;
}

/** An input that was neither taken nor refused. */
export interface Finding {
  readonly input: Uint8Array;
  readonly error: unknown;
}

/** How an attack ended. */
export interface Attacked {
  readonly tally: Tally;
  readonly finding?: Finding;
}

/** Hears of each input before it is given to the target: that may never come back. */
export type Watch = (input: Uint8Array) => void;

/**
 * Gives a target hostile input until `until` says to stop, or one is neither taken nor refused. Each refusal of a new kind
 * shows that an input came somewhere new: that input is kept, and others are made of it.
 */
export async function attack(
  target: Target,
  seed: number,
  until: (tally: Tally) => boolean,
  watch: Watch = () => undefined,
): Promise<Attacked> {
  const random = new Random(seed);
  const tally: Tally = { runs: 0, taken: 0, refusals: 0 };
  const kept = [...target.seeds];
  const seen = new Set<string>();
  for (let next = 0; !until(tally); next++) {
    // First what is honest, as it is.
    const input = target.seeds[next] ?? mutate(random, random.of(kept), random.of(kept));
    watch(input);
    tally.runs++;
    try {
      await target.take(new Uint8Array(input));
      tally.taken++;
    } catch (error) {
      if (next < target.seeds.length || !(error instanceof KallioError))
        return { tally, finding: { input, error } };
      const kind = kindOf(error);
      if (seen.has(kind)) continue;
      seen.add(kind);
      tally.refusals++;
      if (kept.length >= MAX_KEPT)
        kept.splice(target.seeds.length + random.below(MAX_KEPT - target.seeds.length), 1);
      kept.push(input);
    }
  }
  return { tally };
}

/** Gives it one input, and says the same of it. */
export async function attackOnce(target: Target, input: Uint8Array, watch: Watch): Promise<Attacked> {
  watch(input);
  try {
    await target.take(new Uint8Array(input));
    return { tally: { runs: 1, taken: 1, refusals: 0 } };
  } catch (error) {
    const refused = error instanceof KallioError;
    const tally = { runs: 1, taken: 0, refusals: refused ? 1 : 0 };
    return refused ? { tally } : { tally, finding: { input, error } };
  }
}

/** By what refusals tell places apart. */
function kindOf({ code, message, pointer }: KallioError): string {
  return `${code} ${pointer ?? ''} ${message}`.replaceAll(/[0-9a-f]{8,}|\d+/g, '#');
}
