import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { type Answers, OtherThread, type Part } from '@kallio/threads';
import { Checkpoints } from './checkpoints.ts';
import { type Opening, openingOf } from './settings.ts';
import type { Late, LateWrite } from './write.ts';

/** Most pieces of work in one commit: while the thread does the next ones, those are answered. */
const TOGETHER = 24;

/** What was worked out for a piece of work: what is said to whoever asked once it is on disk, and the late values. */
export interface Found<Answer> {
  readonly answer: Answer;
  readonly late: readonly SQLInputValue[];
}

/**
 * What a commit thread works out for each piece of work before it writes any: with no lock on the database, however long it
 * takes.
 */
export interface Beforehand<Question, Answer> {
  /** How it imports the one of node's modules that it works with: `import('node:…')`. */
  readonly module: string;
  /**
   * Makes what works it out, from the module and the parts; all are taken over as text. Undefined for work of which nothing is
   * to be written; what it throws refuses that one alone.
   */
  readonly work: (module: never, ...parts: never[]) => (question: Question) => Found<Answer> | undefined;
  readonly parts: readonly Part[];
  /** The thread has ended: what it was told is forgotten. */
  readonly onEnd: () => void;
}

/** A piece of work as it goes to the thread. */
interface Work<Question> {
  readonly question: Question;
  readonly steps: readonly Step[];
}

/** A statement by its number, its values, and its text the first time. */
type Step = readonly [statement: number, values: readonly Value[], sql?: string];

/** Bytes go as a string of one character a byte: an array of bytes would go with all of the memory that it is a part of. */
type Value = Exclude<SQLInputValue, NodeJS.ArrayBufferView> | { readonly bytes: string } | Late;

/**
 * Commits on another thread, for work of which all is known beforehand, or can be worked out there: nobody waits for the disk
 * who has something else to do. It has a connection of its own, and shares commits as {@link GroupCommit} does.
 */
export class CommitThread<Question, Answer> {
  readonly #thread: OtherThread<Work<Question>, Answer | undefined>;
  readonly #checkpoints: Checkpoints;
  #numbers = new Map<string, number>();

  /** For the database at this path, with its schema up to date. */
  constructor(path: string, beforehand: Beforehand<Question, Answer>) {
    this.#checkpoints = new Checkpoints(path);
    this.#thread = new OtherThread({
      module: `Promise.all([import('node:sqlite'), ${beforehand.module}])`,
      work: work<Question, Answer>,
      parts: [beforehand.work, ...beforehand.parts],
      data: openingOf(path),
      together: TOGETHER,
      onEnd: () => {
        this.#numbers = new Map();
        beforehand.onEnd();
      },
    });
  }

  /**
   * Works out what is asked and writes all of it, each one row, or nothing: undefined where there was nothing to write, or one
   * write did not write exactly one row, so that things are not as they were thought to be. Throws when nothing was written
   * for another reason; or when the thread ended, and nobody knows.
   * COMMIT POINT: once there is an answer, what was written is on disk.
   */
  async commit(question: Question, writes: readonly LateWrite[]): Promise<Answer | undefined> {
    const steps = listOf(writes, (write) => this.#stepOf(write));
    const answer = await this.#thread.ask({ question, steps });
    if (answer !== undefined) for (const { done } of writes) done?.();
    this.#checkpoints.soon();
    return answer;
  }

  /** Ends it for good. What has not been answered by then is refused, and may be on disk. */
  async close(): Promise<void> {
    await Promise.all([this.#thread.close(), this.#checkpoints.close()]);
  }

  #stepOf({ sql, values }: LateWrite): Step {
    const given = listOf(values, handedOver);
    const known = this.#numbers.get(sql);
    if (known !== undefined) return [known, given];
    const number = this.#numbers.size;
    this.#numbers.set(sql, number);
    return [number, given, sql];
  }
}

/** What `map` gives, which makes a list that may have holes: each place of such a one is handed over by its name. */
function listOf<T, U>(from: readonly T[], of: (one: T) => U): U[] {
  const list: U[] = [];
  for (const one of from) list.push(of(one));
  return list;
}

function handedOver(value: SQLInputValue | Late): Value {
  if (!ArrayBuffer.isView(value)) return value;
  return { bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1') };
}

/** What the other thread does. It sees nothing of this file but what it is given. */
function work<Question, Answer>(
  [{ DatabaseSync }, module]: [typeof import('node:sqlite'), never],
  { path, settings, timeout }: Opening,
  beforehand: Beforehand<Question, Answer>['work'],
  ...parts: never[]
): Answers<Work<Question>, Answer | undefined> {
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
  const workOut = beforehand(module, ...parts);
  const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));
  const foundFor = ({ question }: Work<Question>) => {
    try {
      return workOut(question);
    } catch (error) {
      return errorOf(error);
    }
  };
  const taken = (given: Value, late: readonly SQLInputValue[]) => {
    if (typeof given !== 'object' || given === null) return given;
    if ('bytes' in given) return Buffer.from(given.bytes, 'latin1');
    const value = late[given.late];
    if (value === undefined) throw new Error('a value is to be written that was not worked out');
    return value;
  };
  const writesOneRow = ([number, values]: Step, late: readonly SQLInputValue[]) => {
    const statement = statements[number];
    if (statement === undefined) throw new Error('a statement is asked for that is not here');
    return statement.run(...values.map((value) => taken(value, late))).changes === 1;
  };
  const outcomeOf = (steps: readonly Step[], { answer, late }: Found<Answer>) => {
    save.run();
    try {
      const all = steps.every((step) => writesOneRow(step, late));
      if (!all) undo.run();
      release.run();
      return all ? answer : undefined;
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
    for (const { steps } of works) {
      for (const [number, , sql] of steps) if (sql !== undefined) statements[number] = db.prepare(sql);
    }
    // Before the transaction: nobody waits for a lock while it is worked out.
    const found = works.map(foundFor);
    const answersWith = (
      write: (steps: readonly Step[], found: Found<Answer>) => Answer | Error | undefined,
    ) =>
      works.map(({ steps }, i) => {
        const one = found[i];
        return one === undefined || one instanceof Error ? one : write(steps, one);
      });

    if (found.every((one) => one === undefined || one instanceof Error)) return answersWith(() => undefined);
    try {
      begin.run();
      const answers = answersWith(outcomeOf);
      commit.run();
      return answers;
    } catch (error) {
      if (db.isTransaction) rollback.run();
      return answersWith(() => errorOf(error));
    }
  };
}
