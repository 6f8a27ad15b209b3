import { DatabaseSync } from 'node:sqlite';
import { digestOf, refusal, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { hashToken } from '../src/secrets.ts';
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
  const closing = {
    subject: digestOf(utf8('image')),
    statement: digestOf(utf8('statement')),
    signingKey: digestOf(utf8('key')),
    ear: 'a.b.c',
  };

  function opened(): string {
    const { claim: n } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    fresh.store.evidence.put(evidence, 'a', T, utf8('evidence'));
    fresh.store.sessions.create('session-1', 'a', n, T, T + 1000);
    fresh.store.sessions.open('session-1', evidence, opening, T);
    return 'session-1';
  }

  it('goes from opening to open to closed, each step moving the head of its chain', () => {
    const id = opened();
    const head = fresh.store.sessions.get(id)?.record.head;
    fresh.store.sessions.close(id, evidence, closing, T + 5);
    const session = fresh.store.sessions.get(id);
    expect(session?.record).toMatchObject({
      state: 'closed',
      subject: closing.subject,
      evidence: [evidence, evidence],
      ear: 'a.b.c',
    });
    expect(session?.record.head).not.toBe(head);
    expect(session?.opening).toEqual(opening);
    expect(fresh.store.sessions.chainHolds(id)).toBe(true);
  });

  it('never changes once it has ended, not even by hand in the file', () => {
    const id = opened();
    fresh.store.sessions.fail(id, refusal('X', 'Because.'), T + 5);
    expect(fresh.store.sessions.get(id)?.record).toMatchObject({ state: 'failed', reason: { code: 'X' } });
    expect(() => fresh.store.sessions.close(id, evidence, closing, T + 6)).toThrow('never changes');
    const db = new DatabaseSync(fresh.path);
    expect(() => db.exec(`UPDATE sessions SET state = 'open'`)).toThrow('never changes');
    expect(() => db.exec(`UPDATE session_events SET event = '{}'`)).toThrow('append-only');
    expect(() => db.exec('DELETE FROM session_events')).toThrow('append-only');
    db.close();
    expect(fresh.store.sessions.chainHolds(id)).toBe(true);
  });

  it('shows by its chain that an event was altered around the triggers', () => {
    const id = opened();
    const db = new DatabaseSync(fresh.path);
    db.exec('DROP TRIGGER session_events_stay');
    db.exec(`UPDATE session_events SET event = replace(event, '"100"', '"999"') WHERE seq = 1`);
    db.close();
    expect(fresh.store.sessions.chainHolds(id)).toBe(false);
  });
});

describe('file manifests of an image', () => {
  const image = digestOf(utf8('image'));
  const files = digestOf(utf8('files'));

  it('are named by a closed session; two that differ name none', () => {
    const { claim: n } = fresh.store.claims.insert(claimOf('a', 'ek1'), 'admitted', undefined, 'test', T);
    fresh.store.sessions.create('session-1', 'a', n, T, T + 1000);
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
