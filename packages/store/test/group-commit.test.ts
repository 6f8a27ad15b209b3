import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Database, GroupCommit } from '../src/index.ts';
import { bodiesIn, NOTES, outcomes } from './notes.ts';

const MIGRATIONS = [NOTES];

let directory = '';
let path = '';
const open: Database[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-group-'));
  path = join(directory, 'store.db');
});
afterEach(() => {
  for (const db of open.splice(0)) db.close();
  rmSync(directory, { recursive: true, force: true });
});

function database(): Database {
  const db = new Database(path, MIGRATIONS);
  open.push(db);
  return db;
}

const add = (db: Database, body: string) => db.sql('INSERT INTO note (body) VALUES (?)').run(body);

describe('work that shares a commit', () => {
  test('is done in the order it was asked for, each piece with its own answer', async () => {
    const db = database();
    const group = new GroupCommit(db);
    const all = ['a', 'b', 'c'].map((body) => group.run(() => `${add(db, body).changes} ${body}`));
    expect(bodiesIn(db)).toEqual([]);
    expect(await outcomes(all)).toEqual(['1 a', '1 b', '1 c']);
    expect(bodiesIn(db)).toEqual(['a', 'b', 'c']);
  });

  test('sees what the pieces before it wrote', async () => {
    const db = database();
    const group = new GroupCommit(db);
    const all = ['a', 'b', 'c'].map((body) =>
      group.run(() => {
        add(db, body);
        return bodiesIn(db).join('');
      }),
    );
    expect(await outcomes(all)).toEqual(['a', 'ab', 'abc']);
  });

  test('is invisible to another reader until all of it is on disk, and no answer comes before', async () => {
    const [db, reader] = [database(), database()];
    const group = new GroupCommit(db);
    const seen: string[] = [];
    const all = ['a', 'b'].map((body) =>
      group
        .run(() => {
          add(db, body);
          seen.push(`at work: ${bodiesIn(reader).join('')}`);
        })
        .then(() => seen.push(`answered: ${bodiesIn(reader).join('')}`)),
    );
    await Promise.all(all);
    expect(seen).toEqual(['at work: ', 'at work: ', 'answered: ab', 'answered: ab']);
  });

  test('that fails takes only its own transaction with it, not those before or after', async () => {
    const db = database();
    const group = new GroupCommit(db);
    const write = (body: string, fail: boolean) => () => {
      // As with a nonce: what was spent stays spent, whatever becomes of the rest.
      db.transaction(() => add(db, `spent ${body}`));
      db.transaction(() => {
        add(db, body);
        if (fail) throw new Error(`no ${body}`);
      });
    };
    const run = (bodies: readonly string[], bad: string) =>
      outcomes(bodies.map((body) => group.run(write(body, body === bad))));
    expect(await run(['a', 'b', 'c'], 'b')).toEqual([undefined, 'no b', undefined]);
    expect(bodiesIn(db)).toEqual(['spent a', 'a', 'spent b', 'spent c', 'c']);
    // The same without the failure.
    expect(await run(['d', 'e', 'f'], 'none')).toEqual([undefined, undefined, undefined]);
    expect(bodiesIn(db).slice(5)).toEqual(['spent d', 'd', 'spent e', 'e', 'spent f', 'f']);
  });

  test('that breaks a constraint takes only itself with it', async () => {
    const db = database();
    const group = new GroupCommit(db);
    const all = ['a', 'a', 'b'].map((body) => group.run(() => db.transaction(() => add(db, body).changes)));
    expect(await outcomes(all)).toEqual([1, expect.stringMatching(/UNIQUE/), 1]);
    expect(bodiesIn(db)).toEqual(['a', 'b']);
  });

  test('is answered with failure, all of it, when the disk is full, and nothing of it stays', async () => {
    const db = database();
    const group = new GroupCommit(db);
    add(db, 'before');
    const pages = Number(db.sql('PRAGMA page_count').get()?.page_count);
    db.sql(`PRAGMA max_page_count = ${pages + 2}`).get();
    const large = 'x'.repeat(200_000);
    const run = (middle: string) =>
      outcomes(
        ['a', middle, 'c'].map((body) => group.run(() => db.transaction(() => add(db, body).changes))),
      );
    const full = expect.stringMatching(/full/);
    const answered = await run(large);
    expect(answered).toEqual([full, full, full]);
    expect(bodiesIn(db)).toEqual(['before']);
    // The same with room for it.
    db.sql('PRAGMA max_page_count = 1000000').get();
    expect(await run(large)).toEqual([1, 1, 1]);
    expect(bodiesIn(db)).toEqual(['before', 'a', large, 'c']);
  });

  test('comes in groups of a bounded size, with no piece lost or out of order', async () => {
    const db = database();
    const group = new GroupCommit(db);
    const all = Array.from({ length: 300 }, (_, i) => String(i));
    let commits = 0;
    let last = '';
    await Promise.all(
      all.map((body) =>
        group
          .run(() => add(db, body))
          .then(() => {
            const state = bodiesIn(db).at(-1) ?? '';
            if (state !== last) commits++;
            last = state;
          }),
      ),
    );
    expect(bodiesIn(db)).toEqual(all);
    expect(commits).toBeGreaterThan(1);
    expect(commits).toBeLessThan(20);
  });

  test.each([
    ['before the commit', 'nothing of it', []],
    ['between commit and answer', 'all of it', ['a', 'b']],
  ])('of a process killed %s: %s is there', (when, _, expected) => {
    const script = `
      import { DatabaseSync, StatementSync } from 'node:sqlite';
      import { Database, GroupCommit } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      const die = () => {
        process.kill(process.pid, 'SIGKILL');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      };
      const db = new Database(${JSON.stringify(path)}, ${JSON.stringify(MIGRATIONS)});
      const run = StatementSync.prototype.run;
      StatementSync.prototype.run = function (...values) {
        const commit = this.sourceSQL === 'COMMIT';
        if (commit && ${when === 'before the commit'}) die();
        const result = run.apply(this, values);
        if (commit) die();
        return result;
      };
      const group = new GroupCommit(db);
      for (const body of ['a', 'b']) {
        group
          .run(() => db.sql('INSERT INTO note (body) VALUES (?)').run(body))
          .then(() => process.stdout.write('answered'));
      }`;
    const child = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
      encoding: 'utf8',
    });
    expect(child.signal, child.stderr).toBe('SIGKILL');
    expect(child.stdout).toBe('');
    expect(bodiesIn(database())).toEqual(expected);
  });
});
