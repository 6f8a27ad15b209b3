import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { type Answers, OtherThread } from '@kallio/threads';
import { Checkpoints } from './checkpoints.ts';
import { type Opening, openingOf } from './settings.ts';
import type { Write } from './write.ts';

/** Pieces of work that are enough for one commit, beside those that came at one time. */
const TOGETHER = 64;

/** A statement by its number, its values, and its text the first time. */
type Step = readonly [statement: number, values: readonly Value[], sql?: string];

/** Bytes go as a string of one character a byte: an array of bytes would go with all of the memory that it is a part of. */
type Value = Exclude<SQLInputValue, NodeJS.ArrayBufferView> | { readonly bytes: string };

/**
 * Commits on another thread, for work of which all is known beforehand: nobody waits for the disk who has something else to
 * do. It has a connection of its own, and shares commits as {@link GroupCommit} does.
 */
export class CommitThread {
  readonly #thread: OtherThread<readonly Step[], boolean>;
  readonly #checkpoints: Checkpoints;
  #numbers = new Map<string, number>();

  /** For the database at this path, with its schema up to date. */
  constructor(path: string) {
    this.#checkpoints = new Checkpoints(path);
    this.#thread = new OtherThread({
      module: "import('node:sqlite')",
      work,
      data: openingOf(path),
      together: TOGETHER,
      onEnd: () => {
        this.#numbers = new Map();
      },
    });
  }

  /**
   * Writes all of it, each one row, or nothing: false where one of them did not write exactly one row, so that things are
   * not as they were thought to be. Throws when nothing was written for another reason; or when the thread ended, and nobody
   * knows.
   * COMMIT POINT: the promise settles once what was written is on disk.
   */
  async commit(writes: readonly Write[]): Promise<boolean> {
    const isWritten = await this.#thread.ask(writes.map((write) => this.#stepOf(write)));
    if (isWritten) for (const { done } of writes) done?.();
    this.#checkpoints.soon();
    return isWritten;
  }

  /** Ends it for good. What has not been answered by then is refused, and may be on disk. */
  async close(): Promise<void> {
    await Promise.all([this.#thread.close(), this.#checkpoints.close()]);
  }

  #stepOf({ sql, values }: Write): Step {
    const given = values.map(handedOver);
    const known = this.#numbers.get(sql);
    if (known !== undefined) return [known, given];
    const number = this.#numbers.size;
    this.#numbers.set(sql, number);
    return [number, given, sql];
  }
}

function handedOver(value: SQLInputValue): Value {
  if (!ArrayBuffer.isView(value)) return value;
  return { bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1') };
}

/** What the other thread does. It sees nothing of this file but what it is given. */
function work(
  { DatabaseSync }: typeof import('node:sqlite'),
  { path, settings, timeout }: Opening,
): Answers<readonly Step[], boolean> {
  const db = new DatabaseSync(path, { enableForeignKeyConstraints: true, timeout });
  db.exec(settings);
  const [begin, commit, rollback] = [
    db.prepare('BEGIN IMMEDIATE'),
    db.prepare('COMMIT'),
    db.prepare('ROLLBACK'),
  ];
  const [save, undo, release] = [
    db.prepare('SAVEPOINT part'),
    db.prepare('ROLLBACK TO part'),
    db.prepare('RELEASE part'),
  ];
  const statements: StatementSync[] = [];
  const taken = (given: Value) =>
    typeof given === 'object' && given !== null ? Buffer.from(given.bytes, 'latin1') : given;
  const writesOneRow = ([number, values]: Step) => {
    const statement = statements[number];
    if (statement === undefined) throw new Error('a statement is asked for that is not here');
    return statement.run(...values.map(taken)).changes === 1;
  };
  const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));
  const outcomeOf = (steps: readonly Step[]) => {
    save.run();
    try {
      const all = steps.every(writesOneRow);
      if (!all) undo.run();
      release.run();
      return all;
    } catch (error) {
      // A full disk ends the whole transaction, with what those before have written.
      if (!db.isTransaction) throw error;
      undo.run();
      release.run();
      return errorOf(error);
    }
  };
  return (works) => {
    // What this throws ends the thread: whoever asks takes the statement for known from now on.
    for (const [number, , sql] of works.flat()) if (sql !== undefined) statements[number] = db.prepare(sql);
    try {
      begin.run();
      const answers = works.map(outcomeOf);
      commit.run();
      return answers;
    } catch (error) {
      if (db.isTransaction) rollback.run();
      return works.map(() => errorOf(error));
    }
  };
}
