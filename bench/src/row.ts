/** One figure of a benchmark, beside the peer or limit it is compared with in the same run. */
export interface Row {
  readonly name: string;
  readonly figure: number;
  readonly unit: string;
  /** What it is compared with. */
  readonly beside: string;
  readonly besideFigure: number;
  /** figure / besideFigure. */
  readonly ratio: number;
  /** What must hold, in words: `ratio <= 1.1`. */
  readonly bar: string;
  readonly holds: boolean;
}

/** The middle of the values; of an even number the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
