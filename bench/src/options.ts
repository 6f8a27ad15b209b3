/** What a run may be told. */
export interface Options {
  /** How long, where a benchmark runs for a time. */
  readonly seconds?: number;
  /** How many, where a benchmark simulates attesters. */
  readonly attesters?: number;
}
