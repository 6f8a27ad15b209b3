import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommitThread, Database, type Found, type LateWrite, type Write } from '../src/index.ts';
import { bodiesIn, NOTES, outcomes } from './notes.ts';

const MIGRATIONS = [NOTES, 'CREATE TABLE thing (name TEXT PRIMARY KEY, value ANY) STRICT'];

/** What is to be worked out: a word, or nothing. */
type Question =
  | { readonly say: string; readonly late?: Found<string>['late'] }
  | { readonly nothing: true }
  | { readonly refuse: string }
  /** Makes the first file, and waits until there is the other. */
  | { readonly gate: readonly [made: string, awaited: string] };

/** Works out what it is asked to. It runs on the other thread, and sees nothing of this file. */
function obedient(
  fs: typeof import('node:fs'),
  shout: typeof shouted,
): (asked: Question) => Found<string> | undefined {
  return (asked) => {
    if ('nothing' in asked) return undefined;
    if ('refuse' in asked) throw new Error(asked.refuse);
    if ('say' in asked) return { answer: shout(asked.say), late: asked.late ?? [shout(asked.say)] };
    const [made, awaited] = asked.gate;
    fs.writeFileSync(made, '');
    while (!fs.existsSync(awaited)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    return { answer: 'passed', late: [] };
  };
}

function shouted(word: string): string {
  return word.toUpperCase();
}

let directory = '';
let path = '';
let db: Database;
let commits: CommitThread<Question, string>;
let ends = 0;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-commit-'));
  path = join(directory, 'store.db');
  db = new Database(path, MIGRATIONS);
  ends = 0;
  commits = new CommitThread<Question, string>(path, {
    module: "import('node:fs')",
    work: obedient,
    parts: [shouted],
    onEnd: () => ends++,
  });
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
/** True where it was written. */
const commit = async (writes: readonly LateWrite[]) =>
  (await commits.commit({ say: 'yes' }, writes)) === 'YES';

describe('what another thread commits', () => {
  test('is seen by others once the promise settles, and what is to be done then was done before', async () => {
    const steps: string[] = [];
    const write = (body: string): Write => ({
      ...note(body),
      done: () => steps.push(`${body}, on disk: ${bodies().join('')}`),
    });
    const first = commit([write('a'), write('b')]).then((isWritten) => {
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
    await commit([write('synchronous'), write('foreign_keys')]);
    expect(db.sql('SELECT name, value FROM thing').all()).toEqual([
      { name: 'synchronous', value: 2 },
      { name: 'foreign_keys', value: 1 },
    ]);
  });

  test('is all of a work or nothing of it: one of its writes writes no row, and the others of the commit stay', async () => {
    const done: string[] = [];
    const noting = (write: Write): Write => ({ ...write, done: () => done.push(String(write.values[0])) });
    const works = (second: string) => [
      commit([noting(note('a')), noting(once('b'))]),
      commit([noting(note('c')), noting(once(second)), noting(note('d'))]),
      commit([noting(note('e'))]),
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
    expect(await commit([change(2)])).toBe(false);
    expect(bodies()).toEqual(['a', 'b']);
    expect(await commit([change(1)])).toBe(true);
    expect(bodies()).toEqual(['a!', 'b']);
  });

  test('is nothing of a work that fails, which is refused alone, and the next works', async () => {
    const done: string[] = [];
    const failing = [note('b'), { ...note('a'), done: () => done.push('a again') }];
    const all = [commit([note('a')]), commit(failing), commit([note('c')])];
    expect(await outcomes(all)).toEqual([true, expect.stringMatching(/UNIQUE/), true]);
    expect(bodies()).toEqual(['a', 'c']);
    expect(done).toEqual([]);
    expect(await commit([note('b'), note('d')])).toBe(true);
    expect(bodies()).toEqual(['a', 'c', 'b', 'd']);
  });

  test('stands beside transactions of this thread: nothing is lost, and nobody is told to come later', async () => {
    const all: Promise<boolean>[] = [];
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 5; i++) all.push(commit([note(`there ${round} ${i}`)]));
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
    await commit(values.map((value, i) => ({ sql: INTO, values: [`there ${i}`, value] })));
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

describe('what is worked out before it is written', () => {
  const lateNote: LateWrite = { sql: INSERT, values: [{ late: 0 }] };

  test('stands where the writes have a place for it, and is what is answered', async () => {
    const value = {
      sql: 'INSERT INTO thing (name, value) VALUES (?, ?)',
      values: [{ late: 1 }, { late: 0 }],
    };
    expect(await commits.commit({ say: 'a' }, [lateNote, note('b')])).toBe('A');
    expect(await commits.commit({ say: 'x', late: [7.5, 'seven'] }, [value])).toBe('X');
    expect(bodies()).toEqual(['A', 'b']);
    expect(db.sql('SELECT name, value FROM thing').all()).toEqual([{ name: 'seven', value: 7.5 }]);
  });

  test('is nothing: nothing is written, alone or beside others, and what was to be done is not', async () => {
    const done: string[] = [];
    const noting = (body: string): Write => ({ ...note(body), done: () => done.push(body) });
    const all = [
      commits.commit({ say: 'a' }, [noting('a')]),
      commits.commit({ nothing: true }, [noting('b')]),
      commits.commit({ refuse: 'not that' }, [noting('c')]),
      commits.commit({ say: 'd' }, [noting('d')]),
    ];
    expect(await outcomes(all)).toEqual(['A', undefined, 'not that', 'D']);
    expect(await commits.commit({ nothing: true }, [noting('e')])).toBeUndefined();
    expect(bodies()).toEqual(['a', 'd']);
    expect(done).toEqual(['a', 'd']);
    // The statement that came with work of which nothing was written is there for the next.
    expect(await commits.commit({ nothing: true }, [once('f')])).toBeUndefined();
    expect(await commits.commit({ say: 'f' }, [once('f')])).toBe('F');
  });

  test('is not all that is to be written: refused alone, and nothing of it is there', async () => {
    const missing: LateWrite = { sql: INSERT, values: [{ late: 1 }] };
    const all = [
      commits.commit({ say: 'a' }, [note('b'), missing]),
      commits.commit({ say: 'a', late: ['c', 'd'] }, [note('b'), missing]),
    ];
    expect(await outcomes(all)).toEqual([expect.stringMatching(/not worked out/), 'A']);
    expect(bodies()).toEqual(['b', 'd']);
  });

  test('keeps nobody waiting for the database', async () => {
    const [made, awaited] = [join(directory, 'made'), join(directory, 'awaited')];
    const there = commits.commit({ gate: [made, awaited] }, [note('there')]);
    while (!existsSync(made)) await new Promise((resolve) => setTimeout(resolve, 1));
    // Somebody who waited for a transaction of the other thread would wait for good.
    db.transaction(() => db.sql(INSERT).run('here'));
    writeFileSync(awaited, '');
    expect(await there).toBe('passed');
    expect(bodies()).toEqual(['here', 'there']);
  });
});

test('goes on after its thread ended, with its statements prepared anew', async () => {
  expect(await commit([note('a'), once('b')])).toBe(true);
  const done: string[] = [];
  const noting = (body: string): Write => ({ ...note(body), done: () => done.push(body) });
  const both = [commit([noting('c')]), commit([{ sql: 'no SQL at all', values: [] }])];
  expect(await outcomes(both)).toEqual([
    expect.stringMatching(/syntax error/),
    expect.stringMatching(/syntax error/),
  ]);
  expect(bodies()).toEqual(['a', 'b']);
  expect(done).toEqual([]);
  expect(ends).toBe(1);
  // In another order than at first: a statement known by its number from before would be the other one.
  expect(await commit([once('d'), note('e')])).toBe(true);
  expect(await commit([once('d'), note('f')])).toBe(false);
  expect(bodies()).toEqual(['a', 'b', 'd', 'e']);
});

test('commits nothing once it is closed', async () => {
  expect(await commit([note('a')])).toBe(true);
  await commits.close();
  await expect(commit([note('b')])).rejects.toThrow('ended');
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
    const all = Array.from({ length: 64 }, (_, i) => commit([write(`${round} ${i}`)]));
    expect(await outcomes(all)).toEqual(all.map(() => true));
    longest = Math.max(longest, statSync(`${path}-wal`).size);
  }
  expect(statSync(path).size).toBeGreaterThan(90_000_000);
  expect(longest).toBeLessThan(70_000_000);
});
