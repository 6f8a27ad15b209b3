/**
 * One thing at a time for each attester: appraisal reads what was judged before and writes what is judged now, with
 * signing in between, so two pieces of evidence of one attester must not overlap. Different attesters don't wait.
 */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` after everything that was asked for this attester before. */
  async take<T>(attester: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(attester) ?? Promise.resolve();
    // The predecessor's failure is its own caller's to hear.
    const mine = before.then(work, work);
    this.#last.set(attester, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(attester) === mine) this.#last.delete(attester);
    }
  }
}
