import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { tlogError } from '../error.ts';

/**
 * Holds the only right to write in a directory until {@link Lock.release}, or until the process dies, however it
 * dies: SQLite takes a POSIX record lock, which the kernel drops. A file with a process id in it would outlive a
 * crash, and two writers that both find it stale would both go on. `LOG_LOCKED` when another writer holds it.
 */
export class Lock {
  readonly #database: DatabaseSync;

  constructor(directory: string) {
    this.#database = new DatabaseSync(join(directory, 'lock'));
    try {
      this.#database.exec('BEGIN EXCLUSIVE');
    } catch (cause) {
      this.#database.close();
      throw tlogError('LOG_LOCKED', 'Another process writes in this directory.', {
        cause,
        hint: 'A log or a witness is one process. Stop the other one, or give this one another directory.',
      });
    }
  }

  release(): void {
    this.#database.close();
  }
}
