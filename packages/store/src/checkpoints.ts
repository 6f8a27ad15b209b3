import { type Answers, OtherThread } from '@kallio/threads';
import { type Opening, openingOf } from './settings.ts';

/** Pieces of work after which to look: a few pages each. */
const WORKS = 256;
/**
 * Fewest pages of the write-ahead log (4 KiB) that are worth copying: a page that was written often meanwhile, as those of
 * indexes are, is copied once. With those of the works until the next look, far fewer than SQLite would copy itself at.
 */
const PAGES = 3072;

/**
 * Copies what stands in the write-ahead log to the file, on another thread and while others write. Whoever's commit makes
 * the log long enough that SQLite copies it then and there finds most of it copied: no answer waits for the whole of it.
 */
export class Checkpoints {
  readonly #thread: OtherThread<number, number>;
  #works = 0;
  #isAsked = false;

  /** For the database at this path. */
  constructor(path: string) {
    this.#thread = new OtherThread({
      module: "import('node:sqlite')",
      work,
      data: openingOf(path),
    });
  }

  /** A piece of work was written: looks after it now and then. */
  soon(): void {
    this.#works++;
    if (this.#isAsked || this.#works < WORKS) return;
    this.#works = 0;
    this.#isAsked = true;
    const over = () => {
      this.#isAsked = false;
    };
    // Where it could not be copied here, it is where the log is long enough.
    this.#thread.ask(PAGES).then(over, over);
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}

/** What the other thread does: copies, where at least so many pages are to be copied. It sees nothing of this file. */
function work(
  { DatabaseSync }: typeof import('node:sqlite'),
  { path, settings, timeout }: Opening,
): Answers<number, number> {
  const db = new DatabaseSync(path, { timeout });
  db.exec(settings);
  const look = db.prepare('PRAGMA wal_checkpoint(NOOP)');
  const copy = db.prepare('PRAGMA wal_checkpoint(PASSIVE)');
  return (questions) =>
    questions.map((pages) => {
      const { log, checkpointed } = look.get() ?? {};
      const waiting = Number(log) - Number(checkpointed);
      if (waiting >= pages) copy.get();
      return waiting;
    });
}
