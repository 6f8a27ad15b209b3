import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { KallioError } from '@kallio/codec';
import type { StoreCode } from './error.ts';
import { integer } from './row.ts';
import { BUSY_MS, SETTINGS } from './settings.ts';
import type { Write } from './write.ts';

/** A file's schema, before and after it is brought up to date. */
export interface Upgrade {
  readonly from: number;
  readonly to: number;
}

/**
 * One SQLite file in WAL mode. `synchronous = FULL`: when a transaction has returned, it survives a power cut. Servers
 * rely on that everywhere: an answer is sent only after the transaction behind it has returned.
 */
export class Database {
  readonly #db: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  /** What to do once the transaction under way is on disk; what is rolled back takes its own away. */
  readonly #afterwards: (() => void)[] = [];

  /**
   * Opens or makes the file and brings its schema up to date. Step N of `migrations` brings a file of `user_version` N
   * to N + 1. `STORE_TOO_NEW` when the file knows more steps than that. `onUpgrade` is told first of a file that is not new:
   * of gigabytes, a step may take minutes.
   */
  constructor(path: string, migrations: readonly string[], onUpgrade?: (upgrade: Upgrade) => void) {
    this.#db = new DatabaseSync(path, { enableForeignKeyConstraints: true, timeout: BUSY_MS });
    try {
      this.#db.exec(SETTINGS);
      this.#migrate(migrations, onUpgrade);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /** The statement for this SQL text, prepared once. Values only ever go in as parameters. */
  sql(source: string): StatementSync {
    let statement = this.#prepared.get(source);
    if (statement === undefined) {
      statement = this.#db.prepare(source);
      this.#prepared.set(source, statement);
    }
    return statement;
  }

  /** Writes a row, and says how many it wrote: fewer where its statement has a condition that does not hold. */
  write({ sql, values, done }: Write): number {
    const changes = Number(this.sql(sql).run(...values).changes);
    if (changes > 0 && done !== undefined) this.afterCommit(done);
    return changes;
  }

  /**
   * Runs `work` as one transaction: all of it or nothing. `work` is synchronous, so no other request runs in between.
   * Inside another transaction it is a part of that: it can fail alone, and what it wrote lasts when the outermost
   * commits.
   * COMMIT POINT: once the outermost returns, what `work` wrote is on disk.
   */
  transaction<T>(work: () => T): T {
    return this.#db.isTransaction
      ? this.#between('SAVEPOINT part', 'RELEASE part', ['ROLLBACK TO part', 'RELEASE part'], work)
      : this.#between('BEGIN IMMEDIATE', 'COMMIT', ['ROLLBACK'], work);
  }

  /**
   * Runs each piece of work as if it were alone, in this order, and commits them all at once. What one of them throws is
   * its own outcome, and undoes the transaction that it was thrown in, no other. Throws when nothing was committed.
   * COMMIT POINT: once this returns, what they wrote is on disk.
   */
  together<T>(works: readonly (() => T)[]): PromiseSettledResult<T>[] {
    return this.transaction(() =>
      works.map((work) => {
        const outcome = settle(work);
        // A full disk ends the whole transaction, with what those before have written and take for done.
        if (!this.#db.isTransaction)
          throw outcome.status === 'rejected' ? outcome.reason : new Error('rolled back');
        return outcome;
      }),
    );
  }

  #between<T>(begin: string, commit: string, undo: readonly string[], work: () => T): T {
    const before = this.#afterwards.length;
    this.sql(begin).run();
    let result: T;
    try {
      result = work();
      this.sql(commit).run();
    } catch (error) {
      this.#afterwards.length = before;
      // A failed COMMIT, or a full disk, may have rolled back already.
      for (const step of undo) if (this.#db.isTransaction) this.sql(step).run();
      throw error;
    }
    if (!this.#db.isTransaction) for (const step of this.#afterwards.splice(0)) step();
    return result;
  }

  /**
   * Does something once what is being written is on disk, and never if it is rolled back; at once, outside transactions.
   * So memory never runs ahead of the disk. `step` must not throw.
   */
  afterCommit(step: () => void): void {
    if (this.#db.isTransaction) this.#afterwards.push(step);
    else step();
  }

  /** Is a transaction under way? What is read now may be rolled back. */
  get isTransaction(): boolean {
    return this.#db.isTransaction;
  }

  close(): void {
    this.#db.close();
  }

  #migrate(migrations: readonly string[], onUpgrade?: (upgrade: Upgrade) => void): void {
    this.transaction(() => {
      const row = this.#db.prepare('PRAGMA user_version').get() ?? {};
      const version = integer(row, 'user_version');
      if (version > migrations.length) {
        throw new KallioError(
          'STORE_TOO_NEW' satisfies StoreCode,
          `This store has schema ${version}; this server knows up to ${migrations.length}.`,
          { hint: 'Run the newer server that wrote it, or restore a backup.' },
        );
      }
      if (version > 0 && version < migrations.length) onUpgrade?.({ from: version, to: migrations.length });
      for (const step of migrations.slice(version)) this.#db.exec(step);
      this.#db.exec(`PRAGMA user_version = ${migrations.length}`);
    });
  }
}

function settle<T>(work: () => T): PromiseSettledResult<T> {
  try {
    return { status: 'fulfilled', value: work() };
  } catch (reason) {
    return { status: 'rejected', reason };
  }
}
