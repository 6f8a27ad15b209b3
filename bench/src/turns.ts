import { median } from './row.ts';

/** Runs each of these in batches, turn by turn; answers with the median time of one call of each, in microseconds. */
export function takeTurns(
  contestants: readonly ((index: number) => unknown)[],
  { batch, rounds }: { readonly batch: number; readonly rounds: number },
): number[] {
  const times: number[][] = contestants.map(() => []);
  for (let round = -1; round < rounds; round++) {
    // Each goes first every other time: what comes second finds caches warm, and whatever slows the machine slows both.
    const order = [...contestants.keys()];
    if (round % 2 === 0) order.reverse();
    for (const contestant of order) {
      const act = contestants[contestant];
      if (act === undefined) continue;
      const started = performance.now();
      for (let i = 0; i < batch; i++) act(i);
      const us = ((performance.now() - started) * 1000) / batch;
      // The first round is for the compiler.
      if (round >= 0) times[contestant]?.push(us);
    }
  }
  return times.map(median);
}
