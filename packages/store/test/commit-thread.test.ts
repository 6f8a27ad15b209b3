import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommitThread, Database, type Write } from '../src/index.ts';
import { bodiesIn, NOTES, outcomes } from './notes.ts';

const MIGRATIONS = [NOTES, 'CREATE TABLE thing (name TEXT PRIMARY KEY, value ANY) STRICT'];

let directory = '';
let path = '';
let db: Database;
let commits: CommitThread;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-commit-'));
  path = join(directory, 'store.db');
  db = new Database(path, MIGRATIONS);
  commits = new CommitThread(path);
});
afterEach(async () => {
  await commits.close();
  db.close();
  rmSync(directory, { recursive: true });
});

const INSERT = 'INSERT INTO note (body) VALUES (?)';
const note = (body: string): Write => ({ sql: INSERT, values: [body] });
/** Writes a row where there is no such one yet. */
const once = (body: string): Write => ({ sql: `${INSERT} ON CONFLICT DO NOTHING`, values: [body] });
const bodies = () => bodiesIn(db);

describe('what another thread commits', () => {
  test('is seen by others once the promise settles, and what is to be done then was done before', async () => {
    const steps: string[] = [];
    const write = (body: string): Write => ({
      ...note(body),
      done: () => steps.push(`${body}, on disk: ${bodies().join('')}`),
    });
    const first = commits.commit([write('a'), write('b')]).then((isWritten) => {
      steps.push(`settles, on disk: ${bodies().join('')}`);
      return isWritten;
    });
    expect(await first).toBe(true);
    expect(steps).toEqual(['a, on disk: ab', 'b, on disk: ab', 'settles, on disk: ab']);
  });

  test('is on disk for good, and keeps to the rules of the schema', async () => {
    const write = (pragma: string): Write => ({
      sql: `INSERT INTO thing (name, value) SELECT '${pragma}', ${pragma} FROM pragma_${pragma}`,
      values: [],
    });
    await commits.commit([write('synchronous'), write('foreign_keys')]);
    expect(db.sql('SELECT name, value FROM thing').all()).toEqual([
      { name: 'synchronous', value: 2 },
      { name: 'foreign_keys', value: 1 },
    ]);
  });

  test('is all of a work or nothing of it: one of its writes writes no row, and the others of the commit stay', async () => {
    const done: string[] = [];
    const noting = (write: Write): Write => ({ ...write, done: () => done.push(String(write.values[0])) });
    const works = (second: string) => [
      commits.commit([noting(note('a')), noting(once('b'))]),
      commits.commit([noting(note('c')), noting(once(second)), noting(note('d'))]),
      commits.commit([noting(note('e'))]),
    ];
    expect(await outcomes(works('b'))).toEqual([true, false, true]);
    expect(bodies()).toEqual(['a', 'b', 'e']);
    expect(done).toEqual(['a', 'b', 'e']);
    // The same where each writes its row.
    db.sql('DELETE FROM note').run();
    expect(await outcomes(works('new'))).toEqual([true, true, true]);
    expect(bodies()).toEqual(['a', 'b', 'c', 'new', 'd', 'e']);
  });

  test('is nothing of a work that would write more than one row', async () => {
    db.sql(INSERT).run('a');
    db.sql(INSERT).run('b');
    const change = (most: number): Write => ({
      sql: `UPDATE note SET body = body || '!' WHERE id <= ?`,
      values: [most],
    });
    expect(await commits.commit([change(2)])).toBe(false);
    expect(bodies()).toEqual(['a', 'b']);
    expect(await commits.commit([change(1)])).toBe(true);
    expect(bodies()).toEqual(['a!', 'b']);
  });

  test('is nothing of a work that fails, which is refused alone, and the next works', async () => {
    const done: string[] = [];
    const failing = [note('b'), { ...note('a'), done: () => done.push('a again') }];
    const all = [commits.commit([note('a')]), commits.commit(failing), commits.commit([note('c')])];
    expect(await outcomes(all)).toEqual([true, expect.stringMatching(/UNIQUE/), true]);
    expect(bodies()).toEqual(['a', 'c']);
    expect(done).toEqual([]);
    expect(await commits.commit([note('b'), note('d')])).toBe(true);
    expect(bodies()).toEqual(['a', 'c', 'b', 'd']);
  });

  test('stands beside transactions of this thread: nothing is lost, and nobody is told to come later', async () => {
    const all: Promise<boolean>[] = [];
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 5; i++) all.push(commits.commit([note(`there ${round} ${i}`)]));
      db.transaction(() => {
        for (let i = 0; i < 5; i++) db.sql(INSERT).run(`here ${round} ${i}`);
      });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await outcomes(all)).toEqual(all.map(() => true));
    const place = (name: string) => bodies().filter((body) => body.startsWith(name));
    expect(place('here')).toHaveLength(200);
    expect(place('there')).toEqual(
      Array.from({ length: 200 }, (_, i) => `there ${Math.floor(i / 5)} ${i % 5}`),
    );
  });

  test('is what it was given: bytes, part of larger ones or none, numbers, text, and nothing', async () => {
    const every = Uint8Array.from({ length: 300 }, (_, i) => i);
    const values = [
      every.subarray(7, 290),
      new Uint8Array(0),
      Buffer.from('pooled ÿ'),
      null,
      0,
      -1.5,
      Number.MAX_SAFE_INTEGER,
      2n ** 62n,
      'Ω 漢字 🙂 \0 ü',
      '',
    ];
    const INTO = 'INSERT INTO thing (name, value) VALUES (?, ?)';
    await commits.commit(values.map((value, i) => ({ sql: INTO, values: [`there ${i}`, value] })));
    for (const [i, value] of values.entries()) db.sql(INTO).run(`here ${i}`, value);
    const as = (name: string) =>
      db
        .sql(
          `SELECT typeof(value) AS type, quote(value) AS value FROM thing WHERE name LIKE ? ORDER BY rowid`,
        )
        .all(`${name} %`);
    expect(as('there')).toEqual(as('here'));
    expect(as('there')).toHaveLength(values.length);
    const [row] = db.sql(`SELECT value FROM thing WHERE name = 'there 0'`).all();
    expect(row?.value).toEqual(new Uint8Array(every.subarray(7, 290)));
  });
});

test('goes on after its thread ended, with its statements prepared anew', async () => {
  expect(await commits.commit([note('a'), once('b')])).toBe(true);
  const done: string[] = [];
  const noting = (body: string): Write => ({ ...note(body), done: () => done.push(body) });
  const both = [commits.commit([noting('c')]), commits.commit([{ sql: 'no SQL at all', values: [] }])];
  expect(await outcomes(both)).toEqual([
    expect.stringMatching(/syntax error/),
    expect.stringMatching(/syntax error/),
  ]);
  expect(bodies()).toEqual(['a', 'b']);
  expect(done).toEqual([]);
  // In another order than at first: a statement known by its number from before would be the other one.
  expect(await commits.commit([once('d'), note('e')])).toBe(true);
  expect(await commits.commit([once('d'), note('f')])).toBe(false);
  expect(bodies()).toEqual(['a', 'b', 'd', 'e']);
});

test('commits nothing once it is closed', async () => {
  expect(await commits.commit([note('a')])).toBe(true);
  await commits.close();
  await expect(commits.commit([note('b')])).rejects.toThrow('ended');
  expect(bodies()).toEqual(['a']);
});

test('keeps the write-ahead log short while it is written to steadily', async () => {
  const large = 'x'.repeat(100_000);
  const write = (name: string): Write => ({
    sql: 'INSERT INTO thing (name, value) VALUES (?, ?)',
    values: [name, large],
  });
  let longest = 0;
  // Each round is some 7 MB: 20 of them are four times what may come together before it is copied to the file.
  for (let round = 0; round < 20; round++) {
    const all = Array.from({ length: 64 }, (_, i) => commits.commit([write(`${round} ${i}`)]));
    expect(await outcomes(all)).toEqual(all.map(() => true));
    longest = Math.max(longest, statSync(`${path}-wal`).size);
  }
  expect(statSync(path).size).toBeGreaterThan(90_000_000);
  expect(longest).toBeLessThan(70_000_000);
});
