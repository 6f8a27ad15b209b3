import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { canonicalize, digestOf, refusal, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { hashToken } from '../src/secrets.ts';
import { sessionNow } from '../src/sessions/end.ts';
import { MIGRATIONS } from '../src/store/migrations.ts';
import { openStore } from '../src/store/store.ts';
import { claimOf, freshStore, T } from './fixture-store.ts';

const fresh = freshStore();

/** Does it, reads what came of it, and takes it back. */
function undo(work: () => unknown, read: () => unknown = () => undefined): never {
  work();
  read();
  throw new Error('undone');
}

describe('the store', () => {
  it('keeps what was committed over a restart', () => {
    fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    fresh.reopen();
    expect(fresh.store.claims.admittedAs('a')).toMatchObject({ ek: 'ek1', state: 'admitted' });
  });

  it('keeps nothing of a transaction that threw', () => {
    expect(() =>
      fresh.store.transaction(() => {
        fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
        throw new Error('half-way');
      }),
    ).toThrow('half-way');
    expect(fresh.store.claims.admittedAs('a')).toBeUndefined();
  });

  it('remembers who is admitted as it is on disk: a decision counts at once, one taken back never', () => {
    const { claim } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    const admitted = () => fresh.store.claims.admittedAs('a')?.claim;
    expect([admitted(), admitted()]).toEqual([claim, claim]);
    const refuse = () => fresh.store.claims.decide(claim, 'refused', undefined, 'test', T);
    const within: unknown[] = [];
    const both = () => undo(refuse, () => within.push(admitted()));
    expect(() => fresh.store.transaction(both)).toThrow('undone');
    expect(within).toEqual([undefined]);
    expect(admitted()).toBe(claim);
    refuse();
    expect(admitted()).toBeUndefined();
    // Admitted and taken back: what was read meanwhile must not stay.
    const admit = () => fresh.store.claims.decide(claim, 'admitted', undefined, 'test', T);
    expect(() => fresh.store.transaction(() => undo(admit, () => within.push(admitted())))).toThrow('undone');
    expect(within).toEqual([undefined, claim]);
    expect(admitted()).toBeUndefined();
  });

  it('refuses a file that a newer server wrote', () => {
    const db = new DatabaseSync(fresh.path);
    db.exec('PRAGMA user_version = 999');
    db.close();
    expect(() => openStore(fresh.path)).toThrow(expect.objectContaining({ code: 'STORE_TOO_NEW' }));
  });

  it('refuses a column that holds no sense', () => {
    fresh.store.claims.insert(claimOf('a', 'ek1'), 'pending', undefined, 'test', T);
    const db = new DatabaseSync(fresh.path);
    db.exec(`UPDATE claims SET reason = '{"code":1}'`);
    db.close();
    expect(() => fresh.store.claims.current()).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }));
  });

  it('holds one TPM to one attester by itself, whatever the code above does', () => {
    fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    expect(() => fresh.store.claims.insert(claimOf('a', 'ek2'), 'admitted', undefined, 'test', T)).toThrow(
      /UNIQUE/,
    );
    expect(() => fresh.store.claims.insert(claimOf('b', 'ek1'), 'admitted', undefined, 'test', T)).toThrow(
      /UNIQUE/,
    );
    fresh.store.claims.insert(claimOf('b', 'ek2'), 'admitted', undefined, 'test', T);
  });

  it('keeps the history of decisions from being changed or deleted', () => {
    const { claim: n } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'pending', undefined, 'test', T);
    fresh.store.claims.decide(n, 'admitted', undefined, 'token:op', T);
    const db = new DatabaseSync(fresh.path);
    expect(db.prepare('SELECT state, by FROM admissions ORDER BY rowid').all()).toEqual([
      { state: 'pending', by: 'test' },
      { state: 'admitted', by: 'token:op' },
    ]);
    expect(() => db.exec('DELETE FROM admissions')).toThrow('append-only');
    expect(() => db.exec(`UPDATE admissions SET by = 'nobody'`)).toThrow('append-only');
    db.close();
  });
});

describe('a challenge that was answered', () => {
  const answered = (id: string, claim: number, expiresAt = T) => {
    const claimed = claimOf('a', 'ek1');
    fresh.store.challenges.insert({ challenge: id, answer: hashToken(id), claimed, expiresAt }, 'source');
    fresh.store.challenges.proven(id, claim);
  };
  const known = (id: string) => fresh.store.challenges.get(id) !== undefined;

  it('is kept while its claim is admitted, and forgotten in its time when it is not', () => {
    const { claim } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    const { claim: other } = fresh.store.claims.insert(claimOf('b', 'ek2'), 'pending', undefined, 'test', T);
    answered('admitted', claim);
    answered('pending', other);
    fresh.store.challenges.prune(T + 1, T);
    expect([known('admitted'), known('pending')]).toEqual([true, true]);
    fresh.store.challenges.prune(T + 1, T + 1);
    expect([known('admitted'), known('pending')]).toEqual([true, false]);
    fresh.store.claims.decide(claim, 'refused', undefined, 'test', T);
    fresh.store.challenges.prune(T + 1, T + 1);
    expect(known('admitted')).toBe(false);
  });

  it('is one of the newest of its claim: who enrols again and again fills nothing', () => {
    const { claim } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    const { claim: other } = fresh.store.claims.insert(claimOf('b', 'ek2'), 'pending', undefined, 'test', T);
    answered('of another', other);
    for (let i = 0; i < 40; i++) answered(`c${i}`, claim);
    const kept = Array.from({ length: 40 }, (_, i) => `c${i}`).filter(known);
    expect(kept).toEqual(Array.from({ length: 16 }, (_, i) => `c${i + 24}`));
    expect(known('of another')).toBe(true);
  });
});

describe('a join token', () => {
  const hash = hashToken('t');
  it('is good for its uses and no more', () => {
    fresh.store.joinTokens.insert(hash, { uses: 2, expiresAt: T + 1000 }, 'test');
    expect([1, 2, 3].map(() => fresh.store.joinTokens.spend(hash, 'device', 'a', T))).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('is good until its time, for its kind and its attester only', () => {
    fresh.store.joinTokens.insert(
      hash,
      { uses: 9, expiresAt: T + 1000, kind: 'device', attester: 'a' },
      'test',
    );
    expect(fresh.store.joinTokens.admits(hash, 'device', 'a', T)).toBe(true);
    expect(fresh.store.joinTokens.admits(hash, 'builder', 'a', T)).toBe(false);
    expect(fresh.store.joinTokens.admits(hash, 'device', 'b', T)).toBe(false);
    expect(fresh.store.joinTokens.admits(hash, 'device', 'a', T + 1000)).toBe(false);
  });
});

describe('a bearer token', () => {
  const hash = hashToken('t');
  it('is stored as a hash, and known until it is revoked or expires', () => {
    fresh.store.tokens.insert(hash, { name: 'op', role: 'operator' }, T + 1000, 'test', T);
    expect(fresh.store.tokens.holder(hash, T)).toEqual({ name: 'op', role: 'operator' });
    expect(fresh.store.tokens.holder(hash, T + 1000)).toBeUndefined();
    expect(fresh.store.tokens.revoke('op', T)).toBe(true);
    expect(fresh.store.tokens.holder(hash, T)).toBeUndefined();
    expect(fresh.store.tokens.revoke('op', T)).toBe(false);
  });

  it('has a name that no other in force has', () => {
    fresh.store.tokens.insert(hash, { name: 'op', role: 'viewer' }, T + 1000, 'test', T);
    const again = (now: number) =>
      fresh.store.tokens.insert(hashToken('u'), { name: 'op', role: 'viewer' }, T + 9000, 'test', now);
    expect(() => again(T)).toThrow(expect.objectContaining({ code: 'CONFLICT' }));
    again(T + 1000);
  });

  it('is not revoked when it is the last admin’s', () => {
    fresh.store.tokens.insert(hash, { name: 'admin', role: 'admin' }, T + 1000, 'test', T);
    expect(() => fresh.store.tokens.revoke('admin', T)).toThrow(
      expect.objectContaining({ code: 'TOKEN_LAST_ADMIN' }),
    );
    fresh.store.tokens.insert(hashToken('u'), { name: 'second', role: 'admin' }, T + 1000, 'test', T);
    expect(fresh.store.tokens.revoke('admin', T)).toBe(true);
  });
});

describe('a session’s record', () => {
  const evidence = digestOf(utf8('evidence'));
  const opening = { resetCount: 1, restartCount: 0, clock: '100', ak: 'ak-ek1' };
  const policy = { id: 'builders-1', digest: digestOf(utf8('policy')) };
  const closing = {
    at: T + 5,
    evidence,
    policy,
    subject: digestOf(utf8('image')),
    statement: digestOf(utf8('statement')),
    signingKey: digestOf(utf8('key')),
  };
  const begin = (claim: number) => ({ attester: 'a', claim, at: T, expiresAt: T + 1000, policy });
  const corrupt = (pointer: string) => expect.objectContaining({ code: 'STORE_CORRUPT', pointer });

  function opened(): string {
    const { claim: n } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    fresh.store.evidence.put(evidence, 'a', T, utf8('evidence'));
    fresh.store.sessions.create('session-1', begin(n));
    fresh.store.sessions.open('session-1', { evidence, opening, policy, at: T });
    return 'session-1';
  }

  it('goes from opening to open to closed, each step moving the head of its chain', () => {
    const id = opened();
    const head = fresh.store.sessions.get(id)?.record.head;
    const foretold = fresh.store.sessions.headOnceClosed(id, closing);
    fresh.store.sessions.close(id, closing, 'a.b.c');
    const session = fresh.store.sessions.get(id);
    expect(session?.record).toMatchObject({
      state: 'closed',
      policy,
      subject: closing.subject,
      evidence: [evidence, evidence],
      ear: 'a.b.c',
    });
    expect(session?.record.head).not.toBe(head);
    expect(session?.record.head).toBe(foretold);
    expect(session?.opening).toEqual(opening);
    expect(fresh.store.sessions.eventsOf(id).map(({ event }) => event)).toEqual([
      'created',
      'opened',
      'closed',
    ]);
    expect(session?.record).not.toHaveProperty('logIndex');
    fresh.store.sessions.signed(id, 7);
    fresh.store.sessions.signed(id, 8);
    expect(fresh.store.sessions.get(id)?.record).toEqual({ ...session?.record, logIndex: 7 });
  });

  it('never changes once it has ended, not even by hand in the file', () => {
    const id = opened();
    fresh.store.sessions.fail(id, refusal('X', 'Because.', { hint: 'Try again.' }), T + 5);
    const { record } = fresh.store.sessions.get(id) ?? {};
    expect(record).toMatchObject({ state: 'failed', reason: { code: 'X' } });
    expect(() => fresh.store.sessions.close(id, closing, 'a.b.c')).toThrow('never changes');
    const db = new DatabaseSync(fresh.path);
    expect(() => db.exec(`UPDATE sessions SET state = 'open'`)).toThrow('never changes');
    expect(() => db.exec(`UPDATE session_events SET event = '{}'`)).toThrow('append-only');
    expect(() => db.exec('DELETE FROM session_events')).toThrow('append-only');
    db.close();
    expect(fresh.store.sessions.get(id)?.record).toEqual(record);
  });

  it.each([
    [
      'an event was altered',
      '/head',
      `UPDATE session_events SET event = replace(event, '"100"', '"999"') WHERE seq = 1`,
    ],
    ['an event was taken out', '/head', 'DELETE FROM session_events WHERE seq = 1'],
    ['the head was altered', '/head', `UPDATE sessions SET head = 'sha256:${'0'.repeat(64)}'`],
    ['the state was altered', '/state', `UPDATE sessions SET state = 'open'`],
    ['the image was altered', '/subject', `UPDATE sessions SET subject = 'sha256:${'0'.repeat(64)}'`],
    ['the claims was altered', '/statement', `UPDATE sessions SET statement = 'sha256:${'0'.repeat(64)}'`],
    [
      'the policy was altered',
      '/policy',
      `UPDATE sessions SET policy = replace(policy, 'builders-1', 'builders-2')`,
    ],
    ['the attester was altered', '/attester', `UPDATE sessions SET attester = 'b'`],
    ['the evidence was altered', '/evidence', 'DELETE FROM session_evidence WHERE seq = 1'],
  ])('is refused wherever it is read when %s around the triggers', (_, pointer, sql) => {
    const id = opened();
    fresh.store.sessions.close(id, closing, 'a.b.c');
    const db = new DatabaseSync(fresh.path);
    for (const trigger of ['session_events_stay', 'session_events_kept', 'sessions_end'])
      db.exec(`DROP TRIGGER ${trigger}`);
    // What is written there, without another word, does no harm.
    db.exec('UPDATE sessions SET state = state, head = head');
    expect(fresh.store.sessions.get(id)?.state).toBe('closed');
    db.exec(sql);
    db.close();
    expect(() => fresh.store.sessions.get(id)).toThrow(corrupt(pointer));
    expect(() => fresh.store.sessions.list(10)).toThrow(corrupt(pointer));
  });

  it('is open to the last millisecond of its window, and expired with the next', () => {
    const id = opened();
    const at = (time: number) =>
      fresh.store.transaction(() => sessionNow(fresh.store, id, new Date(time))?.record);
    expect(at(T + 999)).toMatchObject({ state: 'open' });
    expect(at(T + 1000)).toMatchObject({ state: 'expired', reason: { code: 'SESSION_EXPIRED' } });
  });

  it('of a server that noted no policy, and put its result into the chain, holds as before', () => {
    const path = join(dirname(fresh.path), 'older.sqlite');
    const older = new DatabaseSync(path);
    const before = MIGRATIONS.slice(0, 7);
    for (const step of before) older.exec(step);
    older.exec(`PRAGMA user_version = ${before.length}`);
    older.exec(`INSERT INTO claims (claim, attester, kind, ek, ek_public, ek_certificate, ek_root, ak, ak_public, state,
      created_at) VALUES (1, 'a', 'builder', 'ek', x'', x'', '', 'ak', x'', 'admitted', 1)`);
    const put = (sql: string, ...values: (string | number)[]) => older.prepare(sql).run(...values);
    put(`INSERT INTO evidence (digest, attester, at, bytes) VALUES (?, 'a', 1, x'00')`, evidence);
    const { at, subject, statement, signingKey } = closing;
    const events = [
      { event: 'created', at: T, attester: 'a', expiresAt: T + 1000 },
      { event: 'opened', at: T, evidence, opening },
      { event: 'closed', at, evidence, subject, statement, signingKey, ear: 'a.b.c' },
    ];
    const insert = (session: string, state: string, some: typeof events) => {
      let head = `sha256:${createHash('sha256').update(session).digest('hex')}`;
      const heads = some.map((event) => {
        const hash = createHash('sha256').update(`kallio-session-v1\0${head}${canonicalize(event)}`);
        head = `sha256:${hash.digest('hex')}`;
        return head;
      });
      put(
        `INSERT INTO sessions (session, attester, claim, state, created_at, expires_at, opening, head)
           VALUES (?, 'a', 1, 'open', ?, ?, ?, ?)`,
        ...[session, T, T + 1000, canonicalize(opening), head],
      );
      for (const [seq, event] of some.entries()) {
        put(
          'INSERT INTO session_events VALUES (?, ?, ?, ?)',
          session,
          seq,
          canonicalize(event),
          heads[seq] ?? '',
        );
        if ('evidence' in event)
          put('INSERT INTO session_evidence VALUES (?, ?, ?)', session, seq - 1, evidence);
      }
      if (state === 'closed') {
        put(
          `UPDATE sessions SET state = 'closed', closed_at = ?, subject = ?, statement = ?, signing_key = ?,
             ear = 'a.b.c' WHERE session = ?`,
          ...[at, subject, statement, signingKey, session],
        );
      }
    };
    insert('session-closed', 'closed', events);
    insert('session-open', 'open', events.slice(0, 2));
    put(`INSERT INTO image_references VALUES (?, ?, 'session-closed', 4)`, subject, evidence);
    older.close();

    const store = openStore(path);
    const { record } = store.sessions.get('session-closed') ?? {};
    expect(record).toMatchObject({ state: 'closed', subject, ear: 'a.b.c', logIndex: 4 });
    expect(record).not.toHaveProperty('policy');
    expect(store.sessions.get('session-open')?.record).toMatchObject({ state: 'open' });
    // It goes on, and its closing names the policy.
    store.transaction(() => store.sessions.close('session-open', closing, 'd.e.f'));
    expect(store.sessions.get('session-open')?.record).toMatchObject({
      state: 'closed',
      policy,
      ear: 'd.e.f',
    });
    store.close();
  });
});

describe('file manifests of an image', () => {
  const image = digestOf(utf8('image'));
  const files = digestOf(utf8('files'));

  it('are named by a closed session; two that differ name none', () => {
    const { claim: n } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    const policy = { id: 'p', digest: image };
    fresh.store.sessions.create('session-1', { attester: 'a', claim: n, at: T, expiresAt: T + 1000, policy });
    expect(fresh.store.images.fileManifestOf(image)).toBeUndefined();
    fresh.store.images.name(image, files, 'session-1', 0);
    fresh.store.images.name(image, files, 'session-1', 1);
    expect(fresh.store.images.fileManifestOf(image)).toBe(files);
    const other = () => fresh.store.images.name(image, digestOf(utf8('other files')), 'session-1', 2);
    expect(() => fresh.store.transaction(() => undo(other))).toThrow('undone');
    expect(fresh.store.images.fileManifestOf(image)).toBe(files);
    other();
    expect(fresh.store.images.fileManifestOf(image)).toBeUndefined();
  });
});
