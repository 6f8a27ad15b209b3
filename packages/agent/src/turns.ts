/** Lets one piece of work run at a time, in the order of asking. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    // The next turn waits for this one, whatever became of it; its own caller sees the failure.
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
