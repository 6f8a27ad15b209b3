import { KallioError } from '@kallio/codec';
import type { ProtocolCode } from '@kallio/protocol';

/**
 * One thing at a time for each attester: appraisal reads what was judged before and writes what is judged now, with
 * signing in between, so two pieces of evidence of one attester must not overlap. Different attesters don't wait.
 */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();
  readonly #most: number;
  #waiting = 0;

  /** `most`: pieces of work that may wait at one time; more are answered `SERVER_BUSY`. */
  constructor(most = 1024) {
    this.#most = most;
  }

  /** Runs `work` after everything that was asked for this attester before. */
  async take<T>(attester: string, work: () => Promise<T>): Promise<T> {
    // What waits holds its evidence in memory: who comes now is told to come later, before the work of all is late.
    if (this.#waiting >= this.#most) {
      throw new KallioError('SERVER_BUSY' satisfies ProtocolCode, 'This server has no time now.', {
        hint: 'Come again later: Retry-After says when.',
      });
    }
    this.#waiting++;
    const before = this.#last.get(attester) ?? Promise.resolve();
    // The predecessor's failure is its own caller's to hear.
    const mine = before.then(work, work);
    this.#last.set(attester, mine);
    try {
      return await mine;
    } finally {
      this.#waiting--;
      if (this.#last.get(attester) === mine) this.#last.delete(attester);
    }
  }
}
