import { type Database, text } from '../src/index.ts';

/** A table that work is written to. */
export const NOTES = 'CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE) STRICT';

/** What stands there, in the order in which it was written. */
export const bodiesIn = (db: Database) =>
  db
    .sql('SELECT body FROM note ORDER BY id')
    .all()
    .map((row) => text(row, 'body'));

/** What became of each. */
export const outcomes = async (all: readonly Promise<unknown>[]) =>
  (await Promise.allSettled(all)).map((one) =>
    one.status === 'fulfilled' ? one.value : String(one.reason?.message),
  );
