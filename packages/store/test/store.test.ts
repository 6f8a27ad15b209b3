import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { blob, Database, integer, optional, type Row, type StoreCode, text, word } from '../src/index.ts';

const FIRST = 'CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE) STRICT';
const SECOND = `ALTER TABLE note ADD COLUMN kind TEXT NOT NULL DEFAULT 'plain'`;
const MIGRATIONS = [FIRST, SECOND];

let directory = '';
let path = '';
const open: Database[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-store-'));
  path = join(directory, 'store.db');
});
afterEach(() => {
  for (const db of open.splice(0)) db.close();
  rmSync(directory, { recursive: true, force: true });
});

function database(migrations: readonly string[] = MIGRATIONS, at = path): Database {
  const db = new Database(at, migrations);
  open.push(db);
  return db;
}

function shut(db: Database): void {
  open.splice(open.indexOf(db), 1);
  db.close();
}

const code = (expected: StoreCode) => expect.objectContaining({ name: 'KallioError', code: expected });
const version = (db: Database) => integer(db.sql('PRAGMA user_version').get() ?? {}, 'user_version');
const add = (db: Database, body: string) => db.sql('INSERT INTO note (body) VALUES (?)').run(body);
const bodies = (db: Database) =>
  db
    .sql('SELECT body FROM note ORDER BY id')
    .all()
    .map((row) => text(row, 'body'));

describe('migrations', () => {
  test('bring a new file to the last step', () => {
    const db = database();
    expect(version(db)).toBe(2);
    add(db, 'a');
    expect(word(db.sql('SELECT kind FROM note').get() ?? {}, 'kind', ['plain'])).toBe('plain');
  });

  test('run only the steps that a file has not had, and keep what it holds', () => {
    const before = database([FIRST]);
    add(before, 'a');
    shut(before);
    const after = database();
    expect([version(after), bodies(after)]).toEqual([2, ['a']]);
    shut(after);
    // Neither step could run twice: the table and the column are there.
    expect(version(database())).toBe(2);
  });

  test('refuse a file from a newer server and leave it as it is', () => {
    shut(database([...MIGRATIONS, 'CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT']));
    const bytes = readFileSync(path);
    expect(() => database()).toThrow(code('STORE_TOO_NEW'));
    expect(readFileSync(path)).toEqual(bytes);
    // A server that knows the step opens the same file.
    expect(version(database([...MIGRATIONS, 'never run']))).toBe(3);
  });

  test('are all or nothing: a step that fails undoes the steps before it', () => {
    expect(() => database([FIRST, 'CREATE TABLE half (id INTEGER); NOT SQL'])).toThrow(/syntax error/);
    const db = database([]);
    expect(version(db)).toBe(0);
    expect(db.sql('SELECT name FROM sqlite_schema').all()).toEqual([]);
    shut(db);
    expect(version(database())).toBe(2);
  });

  test('refuse a file that is no database', () => {
    writeFileSync(path, 'Dear diary, today I was a file of quite another kind.'.repeat(20));
    expect(() => database()).toThrow(/not a database/);
    rmSync(path);
    expect(version(database())).toBe(2);
  });

  test('serve two openings of one new file', () => {
    const [one, two] = [database(), database()];
    add(one, 'a');
    add(two, 'b');
    expect(bodies(one)).toEqual(['a', 'b']);
  });
});

describe('a transaction', () => {
  test('gives what its work gives, and keeps what it wrote', () => {
    const db = database();
    expect(db.transaction(() => add(db, 'a').changes)).toBe(1);
    expect(bodies(db)).toEqual(['a']);
  });

  test('that throws leaves nothing behind, and the next one runs', () => {
    const db = database();
    const failed = new Error('no');
    const work = (fail: boolean) => () => {
      add(db, 'a');
      add(db, 'b');
      if (fail) throw failed;
    };
    expect(() => db.transaction(work(true))).toThrow(failed);
    expect(bodies(db)).toEqual([]);
    db.transaction(work(false));
    expect(bodies(db)).toEqual(['a', 'b']);
  });

  test('that breaks a constraint leaves nothing behind', () => {
    const db = database();
    const both = (first: string, second: string) => () => {
      add(db, first);
      add(db, second);
    };
    expect(() => db.transaction(both('a', 'a'))).toThrow(/UNIQUE/);
    expect(bodies(db)).toEqual([]);
    db.transaction(both('a', 'b'));
    expect(bodies(db)).toEqual(['a', 'b']);
  });

  test('inside another commits with it or not at all', () => {
    const db = database();
    const outer = (fail: boolean) => () => {
      db.transaction(() => add(db, 'inner'));
      add(db, 'outer');
      if (fail) throw new Error('no');
    };
    expect(() => db.transaction(outer(true))).toThrow('no');
    expect(bodies(db)).toEqual([]);
    db.transaction(outer(false));
    expect(bodies(db)).toEqual(['inner', 'outer']);
  });

  test('shows nothing to another reader before it commits', () => {
    const [writer, reader] = [database(), database()];
    writer.transaction(() => {
      add(writer, 'a');
      expect(bodies(reader)).toEqual([]);
    });
    expect(bodies(reader)).toEqual(['a']);
  });

  test('checks foreign keys', () => {
    const child = 'CREATE TABLE child (note INTEGER NOT NULL REFERENCES note (id)) STRICT';
    const db = database([...MIGRATIONS, child]);
    const insert = (note: number) => () => db.sql('INSERT INTO child (note) VALUES (?)').run(note);
    expect(() => db.transaction(insert(1))).toThrow(/FOREIGN KEY/);
    add(db, 'a');
    db.transaction(insert(1));
  });
});

describe('what was committed', () => {
  test('is there after closing and opening again', () => {
    const db = database();
    db.transaction(() => add(db, 'a'));
    shut(db);
    expect(bodies(database())).toEqual(['a']);
  });

  test('is on disk once the transaction has returned, with nobody left to close the file', () => {
    const db = database();
    expect(db.sql('PRAGMA synchronous').get()).toEqual({ synchronous: 2 });
    expect(db.sql('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
    db.transaction(() => add(db, 'a'));
    // The files as a machine that stops here leaves them.
    const copy = join(directory, 'copy.db');
    for (const part of ['', '-wal']) copyFileSync(path + part, copy + part);
    expect(bodies(database(MIGRATIONS, copy))).toEqual(['a']);
  });

  test('survives a process that is killed, and what was not committed is gone', () => {
    shut(database());
    const script = `
      import { Database } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      const db = new Database(${JSON.stringify(path)}, ${JSON.stringify(MIGRATIONS)});
      const add = (body) => db.sql('INSERT INTO note (body) VALUES (?)').run(body);
      db.transaction(() => add('committed'));
      db.transaction(() => {
        add('not committed');
        process.kill(process.pid, 'SIGKILL');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      });`;
    const child = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
      encoding: 'utf8',
    });
    expect(child.signal, child.stderr).toBe('SIGKILL');
    expect(bodies(database())).toEqual(['committed']);
  });
});

describe('a column', () => {
  const row: Row = { t: 'x', n: 7, half: 1.5, b: Uint8Array.of(1), none: null };
  const cases: [name: string, read: (row: Row, column: string) => unknown, good: string, bad: string[]][] = [
    ['text', text, 't', ['n', 'b', 'none', 'absent']],
    ['integer', integer, 'n', ['t', 'half', 'b', 'none', 'absent']],
    ['blob', blob, 'b', ['t', 'n', 'none', 'absent']],
    ['word', (r, c) => word(r, c, ['x', 'y']), 't', ['n', 'b', 'none', 'absent']],
  ];
  test.each(cases)('read as %s is of that type or refused', (_, read, good, bad) => {
    expect(read(row, good)).toBe(row[good]);
    for (const column of bad) expect(() => read(row, column), column).toThrow(code('STORE_CORRUPT'));
  });

  test('read as a word is one of the words given, letter for letter', () => {
    for (const value of ['held', 'Admitted', 'admitted ', '', 'toString']) {
      const read = () => word({ state: value }, 'state', ['pending', 'admitted']);
      expect(read, value).toThrow(code('STORE_CORRUPT'));
    }
    expect(word({ state: 'admitted' }, 'state', ['pending', 'admitted'])).toBe('admitted');
  });

  test('that may be empty is read where it is not, as strictly as any other', () => {
    expect(optional(row, 'none', text)).toBeUndefined();
    expect(optional(row, 't', text)).toBe('x');
    expect(() => optional(row, 'n', text)).toThrow(code('STORE_CORRUPT'));
  });

  test('that was altered in the file is refused, and is read while it is as written', () => {
    const loose = database(['CREATE TABLE loose (body TEXT, n INTEGER)']);
    const read = () => {
      const found = loose.sql('SELECT body, n FROM loose').get() ?? {};
      return [text(found, 'body'), integer(found, 'n')];
    };
    loose.sql('INSERT INTO loose VALUES (?, ?)').run('a', 1);
    expect(read()).toEqual(['a', 1]);
    loose.sql('UPDATE loose SET n = ?').run(1.25);
    expect(read).toThrow(code('STORE_CORRUPT'));
    loose.sql('UPDATE loose SET n = 1, body = ?').run(Uint8Array.of(1));
    expect(read).toThrow(code('STORE_CORRUPT'));
  });
});

describe('what is to be done after the commit', () => {
  test('is done once it is on disk: at once outside a transaction, at the end of the outermost inside', () => {
    const db = database();
    const done: string[] = [];
    db.afterCommit(() => done.push('outside'));
    expect(done).toEqual(['outside']);
    db.transaction(() => {
      db.transaction(() => db.afterCommit(() => done.push('inner')));
      db.afterCommit(() => done.push(`outer, ${db.isTransaction}`));
      expect(done).toEqual(['outside']);
    });
    expect(done).toEqual(['outside', 'inner', 'outer, false']);
  });

  test('is not done for what was rolled back, alone or with everything', () => {
    const db = database();
    const done: string[] = [];
    const failing = (name: string) => () => {
      db.afterCommit(() => done.push(name));
      throw new Error(name);
    };
    expect(() => db.transaction(failing('all'))).toThrow('all');
    db.transaction(() => {
      db.afterCommit(() => done.push('before'));
      expect(() => db.transaction(failing('part'))).toThrow('part');
      db.afterCommit(() => done.push('after'));
    });
    expect(done).toEqual(['before', 'after']);
    const group = [() => db.transaction(failing('one')), () => db.afterCommit(() => done.push('two'))];
    expect(db.together(group).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    expect(done).toEqual(['before', 'after', 'two']);
  });
});
