import {
  canonicalBytes,
  canonicalize,
  concat,
  type Digest,
  decodeShape,
  digestOf,
  Exact,
  KallioError,
  parseDigest,
  parseJson,
  type Refusal,
  utf8,
} from '@kallio/codec';
import type { SessionRecord, SessionState } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, optional, type Row, text, word } from '@kallio/store';
import { type Static, Type } from 'typebox';
import { isoTime } from '../time.ts';
import type { Events } from './events.ts';
import { refusalFromText } from './refusal.ts';

/** What a session's last evidence showed; the next is held against it. */
export const Opening = Exact({
  resetCount: Type.Integer(),
  restartCount: Type.Integer(),
  /** TPM clock in milliseconds, decimal. */
  clock: Type.String({ pattern: '^[0-9]{1,20}$' }),
  /** Name of the AK, hexadecimal. */
  ak: Type.String(),
});
export type Opening = Static<typeof Opening>;

/** What a session was closed on. */
export interface Closing {
  readonly subject: Digest;
  readonly statement: Digest;
  /** SHA-256 of the signing key's SPKI. */
  readonly signingKey: Digest;
  readonly ear: string;
}

/** A session as stored. */
export interface StoredSession {
  readonly session: string;
  readonly attester: string;
  readonly claim: number;
  readonly state: SessionState;
  readonly expiresAt: number;
  readonly record: SessionRecord;
  readonly opening?: Opening;
  readonly signingKey?: Digest;
}

/** One step in a session's life. The chain over these is what `head` stands for. */
type SessionEvent =
  | { readonly event: 'created'; readonly at: number; readonly attester: string; readonly expiresAt: number }
  | { readonly event: 'opened'; readonly at: number; readonly evidence: Digest; readonly opening: Opening }
  | { readonly event: 'attested'; readonly at: number; readonly evidence: Digest; readonly opening: Opening }
  | ({ readonly event: 'closed'; readonly at: number; readonly evidence: Digest } & Closing)
  | { readonly event: 'failed'; readonly at: number; readonly reason: Refusal; readonly evidence?: Digest }
  | { readonly event: 'expired'; readonly at: number; readonly reason: Refusal };

const LABEL = concat(utf8('kallio-session-v1'), new Uint8Array(1));

/**
 * Attestation sessions. Each step appends one event: head(n) = SHA-256("kallio-session-v1" || 0x00 || head(n-1) ||
 * JCS(event)), from head(-1) = the session's id. The database itself refuses to change a session that has ended.
 */
export class Sessions {
  readonly #db: Database;
  readonly #events: Events;

  constructor(db: Database, events: Events) {
    this.#db = db;
    this.#events = events;
  }

  create(session: string, attester: string, claim: number, at: number, expiresAt: number): void {
    this.#db.transaction(() => {
      this.#db
        .sql(
          `INSERT INTO sessions (session, attester, claim, state, created_at, expires_at, head)
             VALUES (?, ?, ?, 'opening', ?, ?, ?)`,
        )
        .run(session, attester, claim, at, expiresAt, digestOf(utf8(session)));
      this.#append(session, { event: 'created', at, attester, expiresAt });
    });
  }

  open(session: string, evidence: Digest, opening: Opening, at: number): void {
    this.#db.transaction(() => {
      this.#append(session, { event: 'opened', at, evidence, opening });
      this.#attach(session, evidence);
      this.#db
        .sql(`UPDATE sessions SET state = 'open', opening = ? WHERE session = ? AND state = 'opening'`)
        .run(canonicalize(opening), session);
    });
  }

  /** Evidence in between: from now on the next is held against this. */
  attested(session: string, evidence: Digest, shown: Opening, at: number): void {
    this.#db.transaction(() => {
      this.#append(session, { event: 'attested', at, evidence, opening: shown });
      this.#attach(session, evidence);
      this.#db
        .sql(`UPDATE sessions SET opening = ? WHERE session = ? AND state = 'open'`)
        .run(canonicalize(shown), session);
    });
  }

  close(session: string, evidence: Digest, closing: Closing, at: number): void {
    this.#db.transaction(() => {
      this.#append(session, { event: 'closed', at, evidence, ...closing });
      this.#attach(session, evidence);
      this.#db
        .sql(
          `UPDATE sessions SET state = 'closed', closed_at = ?, subject = ?, statement = ?, signing_key = ?, ear = ?
             WHERE session = ? AND state = 'open'`,
        )
        .run(at, closing.subject, closing.statement, closing.signingKey, closing.ear, session);
    });
  }

  fail(session: string, reason: Refusal, at: number, evidence?: Digest): void {
    this.#db.transaction(() => {
      this.#append(session, {
        event: 'failed',
        at,
        reason,
        ...(evidence === undefined ? {} : { evidence }),
      });
      if (evidence !== undefined) this.#attach(session, evidence);
      this.#end(session, 'failed', reason, at);
    });
  }

  expire(session: string, reason: Refusal, at: number): void {
    this.#db.transaction(() => {
      this.#append(session, { event: 'expired', at, reason });
      this.#end(session, 'expired', reason, at);
    });
  }

  get(session: string): StoredSession | undefined {
    const row = this.#db.sql('SELECT * FROM sessions WHERE session = ?').get(session);
    return row === undefined ? undefined : this.#sessionOf(row);
  }

  /** Newest first. */
  list(limit: number): StoredSession[] {
    return this.#db
      .sql('SELECT * FROM sessions ORDER BY created_at DESC, rowid DESC LIMIT ?')
      .all(limit)
      .map((row) => this.#sessionOf(row));
  }

  /** Sessions of a claim that have not ended. */
  underWay(claim: number): StoredSession[] {
    return this.#db
      .sql(`SELECT * FROM sessions WHERE claim = ? AND state IN ('opening', 'open')`)
      .all(claim)
      .map((row) => this.#sessionOf(row));
  }

  /** Sessions whose window has passed, but that have not ended. */
  overdue(now: number): string[] {
    return this.#db
      .sql(`SELECT session FROM sessions WHERE state IN ('opening', 'open') AND expires_at <= ?`)
      .all(now)
      .map((row) => text(row, 'session'));
  }

  /** Recomputes the digest chain; false when an event or a head was altered. */
  chainHolds(session: string): boolean {
    let head = digestOf(utf8(session));
    for (const row of this.#db
      .sql('SELECT event, head FROM session_events WHERE session = ? ORDER BY seq')
      .all(session)) {
      head = chain(head, utf8(text(row, 'event')));
      if (head !== text(row, 'head')) return false;
    }
    return this.get(session)?.record.head === head;
  }

  #end(session: string, state: 'failed' | 'expired', reason: Refusal, at: number): void {
    this.#db
      .sql('UPDATE sessions SET state = ?, reason = ?, closed_at = ? WHERE session = ?')
      .run(state, JSON.stringify(reason), at, session);
  }

  #append(session: string, event: SessionEvent): void {
    const row = this.#db
      .sql(
        `SELECT head, attester, (SELECT count(*) FROM session_events AS e WHERE e.session = s.session) AS seq
           FROM sessions AS s WHERE session = ?`,
      )
      .get(session);
    if (row === undefined) throw new KallioError('NOT_FOUND', 'There is no such session.');
    const bytes = canonicalBytes(event);
    const head = chain(parseDigest(text(row, 'head')), bytes);
    this.#db
      .sql('INSERT INTO session_events (session, seq, event, head) VALUES (?, ?, ?, ?)')
      .run(session, integer(row, 'seq'), canonicalize(event), head);
    this.#db.sql('UPDATE sessions SET head = ? WHERE session = ?').run(head, session);
    this.#events.append(
      {
        type: `session.${event.event}`,
        data: {
          session,
          attester: text(row, 'attester'),
          ...('subject' in event ? { subject: event.subject } : {}),
          ...('reason' in event ? { reason: { ...event.reason } } : {}),
        },
      },
      event.at,
    );
  }

  #attach(session: string, evidence: Digest): void {
    this.#db
      .sql(
        `INSERT INTO session_evidence (session, seq, digest)
           SELECT ?, count(*), ? FROM session_evidence WHERE session = ?`,
      )
      .run(session, evidence, session);
  }

  #sessionOf(row: Row): StoredSession {
    const session = text(row, 'session');
    const closedAt = optional(row, 'closed_at', integer);
    const subject = optional(row, 'subject', text);
    const statement = optional(row, 'statement', text);
    const reason = optional(row, 'reason', text);
    const ear = optional(row, 'ear', text);
    const opening = optional(row, 'opening', text);
    const signingKey = optional(row, 'signing_key', text);
    const state = word(row, 'state', ['opening', 'open', 'closed', 'failed', 'expired']);
    const evidence = this.#db
      .sql('SELECT digest FROM session_evidence WHERE session = ? ORDER BY seq')
      .all(session)
      .map((e) => text(e, 'digest'));
    return {
      session,
      attester: text(row, 'attester'),
      claim: integer(row, 'claim'),
      state,
      expiresAt: integer(row, 'expires_at'),
      record: {
        session,
        attester: text(row, 'attester'),
        purpose: 'image-build',
        state,
        createdAt: isoTime(integer(row, 'created_at')),
        expiresAt: isoTime(integer(row, 'expires_at')),
        ...(closedAt === undefined ? {} : { closedAt: isoTime(closedAt) }),
        ...(subject === undefined ? {} : { subject }),
        ...(statement === undefined ? {} : { statement }),
        ...(reason === undefined ? {} : { reason: refusalFromText(reason) }),
        evidence,
        head: text(row, 'head'),
        ...(ear === undefined ? {} : { ear }),
      },
      ...(opening === undefined
        ? {}
        : { opening: decodeShape(Opening, parseJson(opening), 'STORE_CORRUPT', 'A stored session') }),
      ...(signingKey === undefined ? {} : { signingKey: parseDigest(signingKey) }),
    };
  }
}

function chain(head: Digest, event: Uint8Array): Digest {
  return digestOf(concat(LABEL, utf8(head), event));
}
