import type { Database } from './database.ts';

/** Most pieces of work in one commit: no answer waits for more than these before its own. */
const MOST = 64;

interface Waiting {
  /** Does the work; what it returns hands the value on. */
  readonly work: () => () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Lets requests that come at one time share one commit, which is what costs (about 0.2 ms for the disk, whatever was
 * written). No clock: what comes while a group is at work is the next group, so that a request that comes alone does not
 * wait for others, and under load groups grow by themselves.
 */
export class GroupCommit {
  readonly #db: Database;
  #waiting: Waiting[] = [];

  constructor(db: Database) {
    this.#db = db;
  }

  /**
   * Runs `work` soon, as if it were alone and in the order of these calls; see {@link Database.together}.
   * COMMIT POINT: the promise settles, either way, once what was written is on disk.
   */
  run<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#commit());
      const doIt = () => {
        const value = work();
        return () => resolve(value);
      };
      this.#waiting.push({ work: doIt, reject });
    });
  }

  #commit(): void {
    const group = this.#waiting.splice(0, MOST);
    if (this.#waiting.length > 0) setImmediate(() => this.#commit());
    let outcomes: PromiseSettledResult<() => void>[];
    try {
      outcomes = this.#db.together(group.map(({ work }) => work));
    } catch (error) {
      for (const { reject } of group) reject(error);
      return;
    }
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') outcome.value();
      else group[i]?.reject(outcome.reason);
    }
  }
}
