import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { zstdCompressSync } from 'node:zlib';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import type { Upgrade } from '@kallio/store';
import { expect, it } from 'vitest';
import { MIGRATIONS } from '../src/store/migrations.ts';
import { openStore } from '../src/store/store.ts';
import { claimOf, freshStore, T } from './fixture-store.ts';

const fresh = freshStore();
const digest = (name: string): Digest => digestOf(utf8(name));

/** A result, and a record of it that says so much as a record must. */
function result(name: string, claim: number, at = T) {
  const platform = { state: 'VERIFIED' as const, reasons: [] };
  const record = {
    attester: 'a',
    purpose: 'attest' as const,
    policy: 'p',
    limits: [],
    instances: {},
    platform,
  };
  return { digest: digest(name), claim, at, ear: name, record: { ...record, evidence: digest('evidence') } };
}

function admitted(): number {
  return fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T).claim;
}

it('keeps with a result what it rests on, small and large', () => {
  const claim = admitted();
  const small = utf8('{"small":true}');
  const large = utf8(`{"large":"${'log '.repeat(50_000)}"}`);
  fresh.store.results.insert(result('one', claim), { evidence: small, previous: '{}' }, false);
  fresh.store.results.insert(result('two', claim), { evidence: large }, false);
  fresh.store.results.insert(result('three', claim), {}, false);
  fresh.reopen();
  const { results } = fresh.store;
  expect(results.restsOn(digest('one'))).toEqual({ evidence: small, previous: '{}' });
  expect(results.restsOn(digest('two'))).toEqual({ evidence: large });
  expect(results.restsOn(digest('three'))).toEqual({});
  expect(results.restsOn(digest('four'))).toEqual({});
  expect(results.get(digest('two'))).toEqual(result('two', claim));
  expect(results.latest(claim)?.ear).toBe('three');
  const db = new DatabaseSync(fresh.path);
  const stored = db.prepare('SELECT max(length(evidence)) AS most FROM results').get();
  db.close();
  expect(Number(stored?.most)).toBeLessThan(1000);
});

it('tells digests apart that begin alike', () => {
  const claim = admitted();
  const one = digest('one');
  const other: Digest = `${one.slice(0, -1)}${one.endsWith('0') ? '1' : '0'}` as Digest;
  fresh.store.results.insert(result('one', claim), {}, false);
  fresh.store.results.insert({ ...result('one', claim), digest: other, ear: 'other' }, {}, false);
  expect(fresh.store.results.get(one)?.ear).toBe('one');
  expect(fresh.store.results.get(other)?.ear).toBe('other');
});

it('forgets what is old, but each claim’s last', () => {
  const claim = admitted();
  for (const [i, name] of ['one', 'two', 'three'].entries()) {
    fresh.store.results.insert(result(name, claim, T + i), { previous: `{"n":${i}}` }, false);
  }
  fresh.store.results.prune(T + 1);
  expect(fresh.store.results.get(digest('one'))).toBeUndefined();
  expect(fresh.store.results.get(digest('two'))).toBeDefined();
  fresh.store.results.prune(T + 10);
  expect(fresh.store.results.get(digest('two'))).toBeUndefined();
  expect(fresh.store.results.previousBefore(T + 10)).toEqual(['{"n":2}']);
});

it('looks a digest and a claim’s last up by indexes, however many results there are', () => {
  const db = new DatabaseSync(fresh.path);
  const plan = (sql: string) => JSON.stringify(db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all());
  expect(
    plan(`SELECT ear FROM results WHERE substr(digest, 8, 12) = substr(?1, 8, 12) AND digest = ?1`),
  ).toContain('results_by_digest');
  expect(plan('SELECT at FROM results WHERE claim = 1 ORDER BY at DESC, place DESC LIMIT 1')).toContain(
    'results_by_claim',
  );
  db.close();
});

it('takes over a store in which evidence and what was kept stood by themselves', () => {
  const dir = mkdtempSync(join(tmpdir(), 'kallio-older-'));
  const path = join(dir, 'store.sqlite');
  const older = new DatabaseSync(path);
  const steps = MIGRATIONS.slice(0, 6);
  for (const step of steps) older.exec(step);
  older.exec(`PRAGMA user_version = ${steps.length}`);
  older.exec(`INSERT INTO claims (claim, attester, kind, ek, ek_public, ek_certificate, ek_root, ak, ak_public, state,
    created_at) VALUES (1, 'a', 'device', 'ek', x'', x'', '', 'ak', x'', 'admitted', 1)`);
  const evidence = (name: string) =>
    older
      .prepare('INSERT INTO evidence (digest, attester, at, bytes) VALUES (?, ?, ?, ?)')
      .run(digest(name), 'a', T, zstdCompressSync(utf8(name)));
  const put = (name: string, shown: string, previous: string | null, steady: number) => {
    const { ear, record } = result(name, 1);
    older
      .prepare(
        `INSERT INTO results (digest, claim, attester, at, evidence, ear, record, previous, steady)
           VALUES (?, 1, 'a', ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        digest(name),
        T,
        digest(shown),
        ear,
        JSON.stringify({ ...record, evidence: digest(shown) }),
        previous,
        steady,
      );
  };
  evidence('of a session');
  evidence('of none');
  evidence('of nothing any more');
  older.exec(`INSERT INTO sessions (session, attester, claim, state, created_at, expires_at, head)
    VALUES ('session-1', 'a', 1, 'open', 1, 2, '')`);
  older
    .prepare(`INSERT INTO session_evidence (session, seq, digest) VALUES ('session-1', 1, ?)`)
    .run(digest('of a session'));
  older.prepare('INSERT INTO kept_states (digest, at, root) VALUES (?, ?, ?)').run('root-1', T, '{"n":1}');
  put('first', 'of a session', null, 0);
  put('second', 'of none', 'root-1', 1);
  older.prepare('INSERT INTO spent_nonces (nonce, expires_at) VALUES (?, ?)').run(utf8('spent'), T);
  older.close();

  const upgrades: Upgrade[] = [];
  const store = openStore(path, (upgrade) => upgrades.push(upgrade));
  // Before it takes its time, and the next time not any more.
  expect(upgrades).toEqual([{ from: steps.length, to: MIGRATIONS.length }]);
  openStore(path, (upgrade) => upgrades.push(upgrade)).close();
  openStore(join(dir, 'new.sqlite'), (upgrade) => upgrades.push(upgrade)).close();
  expect(upgrades).toHaveLength(1);
  expect(store.results.restsOn(digest('first'))).toEqual({});
  expect(store.evidence.get(digest('of a session'))).toEqual(utf8('of a session'));
  expect(store.results.restsOn(digest('second'))).toEqual({ evidence: utf8('of none'), previous: '{"n":1}' });
  expect(store.results.before(1, 99, 9).map(({ place, result: { ear } }) => [place, ear])).toEqual([
    [2, 'second'],
    [1, 'first'],
  ]);
  expect(store.evidence.get(digest('of nothing any more'))).toBeUndefined();
  expect(store.spentNonces.spend(utf8('spent'), T)).toBe(false);
  expect(store.spentNonces.spend(utf8('another'), T)).toBe(true);
  store.close();
  rmSync(dir, { recursive: true });
});
