import {
  canonicalize,
  type Digest,
  decodeShape,
  KallioError,
  parseDigest,
  parseJson,
  type Refusal,
} from '@kallio/codec';
import {
  differsFromEvents,
  firstHead,
  nextHead,
  Opening,
  SessionEvent,
  SessionPolicy,
  type SessionRecord,
  type SessionState,
} from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, optional, type Row, text, word } from '@kallio/store';
import { isoTime } from '../time.ts';
import type { Events } from './events.ts';
import { refusalFromText } from './refusal.ts';

/** What a session was closed on. */
export interface Closing {
  readonly at: number;
  readonly evidence: Digest;
  readonly policy: SessionPolicy;
  readonly subject: Digest;
  readonly statement: Digest;
  /** SHA-256 of the signing key's SPKI. */
  readonly signingKey: Digest;
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

/** A session that is begun. */
export interface Beginning {
  readonly attester: string;
  readonly claim: number;
  readonly at: number;
  readonly expiresAt: number;
  readonly policy: SessionPolicy;
}

/** Evidence that a session has taken. */
export interface Taken {
  readonly evidence: Digest;
  readonly opening: Opening;
  readonly policy: SessionPolicy;
  readonly at: number;
}

/**
 * Attestation sessions. Each step appends one event to a chain of digests, whose head the record holds. The database itself
 * refuses to change a session that has ended; what was changed around that is refused where it is read (`STORE_CORRUPT`).
 */
export class Sessions {
  readonly #db: Database;
  readonly #events: Events;

  constructor(db: Database, events: Events) {
    this.#db = db;
    this.#events = events;
  }

  create(session: string, { attester, claim, at, expiresAt, policy }: Beginning): void {
    this.#db.transaction(() => {
      this.#db
        .sql(
          `INSERT INTO sessions (session, attester, claim, state, created_at, expires_at, policy, head)
             VALUES (?, ?, ?, 'opening', ?, ?, ?, ?)`,
        )
        .run(session, attester, claim, at, expiresAt, canonicalize(policy), firstHead(session));
      this.#append(session, { event: 'created', at, attester, expiresAt, policy });
    });
  }

  open(session: string, { evidence, opening, policy, at }: Taken): void {
    this.#db.transaction(() => {
      this.#append(session, { event: 'opened', at, evidence, opening, policy });
      this.#attach(session, evidence);
      this.#db
        .sql(
          `UPDATE sessions SET state = 'open', opening = ?, policy = ? WHERE session = ? AND state = 'opening'`,
        )
        .run(canonicalize(opening), canonicalize(policy), session);
    });
  }

  /** Evidence in between: from now on the next is held against this. */
  attested(session: string, { evidence, opening, policy, at }: Taken): void {
    this.#db.transaction(() => {
      this.#append(session, { event: 'attested', at, evidence, opening, policy });
      this.#attach(session, evidence);
      this.#db
        .sql(`UPDATE sessions SET opening = ?, policy = ? WHERE session = ? AND state = 'open'`)
        .run(canonicalize(opening), canonicalize(policy), session);
    });
  }

  /** The head that {@link close} leads to: for the result to name, which is signed before. */
  headOnceClosed(session: string, closing: Closing): Digest {
    return nextHead(this.#headOf(session), closedEvent(closing));
  }

  close(session: string, closing: Closing, ear: string): void {
    const { at, subject, statement, signingKey, evidence, policy } = closing;
    this.#db.transaction(() => {
      this.#append(session, closedEvent(closing));
      this.#attach(session, evidence);
      this.#db
        .sql(
          `UPDATE sessions SET state = 'closed', closed_at = ?, subject = ?, statement = ?, signing_key = ?, ear = ?,
               policy = ?
             WHERE session = ? AND state = 'open'`,
        )
        .run(at, subject, statement, signingKey, ear, canonicalize(policy), session);
    });
  }

  /** Notes where the signature that came of a closed session stands in the log: the first one's place. */
  signed(session: string, logIndex: number): void {
    this.#db
      .sql('INSERT INTO session_signatures (session, log_index) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(session, logIndex);
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

  /** What happened in a session, oldest first. */
  eventsOf(session: string): SessionEvent[] {
    return this.#db
      .sql('SELECT event FROM session_events WHERE session = ? ORDER BY seq')
      .all(session)
      .map((row) =>
        decodeShape(SessionEvent, parseJson(text(row, 'event')), 'STORE_CORRUPT', 'A session’s event'),
      );
  }

  #headOf(session: string): Digest {
    const row = this.#db.sql('SELECT head FROM sessions WHERE session = ?').get(session);
    if (row === undefined) throw new KallioError('NOT_FOUND', 'There is no such session.');
    return parseDigest(text(row, 'head'));
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
    const head = nextHead(parseDigest(text(row, 'head')), event);
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
    const policy = optional(row, 'policy', text);
    const logIndex = this.#db.sql('SELECT log_index FROM session_signatures WHERE session = ?').get(session);
    const record: SessionRecord = {
      session,
      attester: text(row, 'attester'),
      purpose: 'image-build',
      state,
      ...(policy === undefined
        ? {}
        : { policy: decodeShape(SessionPolicy, parseJson(policy), 'STORE_CORRUPT', 'A session’s policy') }),
      createdAt: isoTime(integer(row, 'created_at')),
      expiresAt: isoTime(integer(row, 'expires_at')),
      ...(closedAt === undefined ? {} : { closedAt: isoTime(closedAt) }),
      ...(subject === undefined ? {} : { subject }),
      ...(statement === undefined ? {} : { statement }),
      ...(reason === undefined ? {} : { reason: { ...refusalFromText(reason) } }),
      evidence,
      head: text(row, 'head'),
      ...(ear === undefined ? {} : { ear }),
      ...(logIndex === undefined ? {} : { logIndex: integer(logIndex, 'log_index') }),
    };
    // Stops a session that was altered in the file from being gone on with, or shown as if it had been so.
    const differs = differsFromEvents(record, this.eventsOf(session));
    if (differs !== undefined) {
      throw new KallioError('STORE_CORRUPT', `The session ${session} is not what its events lead to.`, {
        pointer: `/${differs}`,
      });
    }
    return {
      session,
      attester: record.attester,
      claim: integer(row, 'claim'),
      state,
      expiresAt: integer(row, 'expires_at'),
      record,
      ...(opening === undefined
        ? {}
        : { opening: decodeShape(Opening, parseJson(opening), 'STORE_CORRUPT', 'A stored session') }),
      ...(signingKey === undefined ? {} : { signingKey: parseDigest(signingKey) }),
    };
  }
}

function closedEvent({ at, evidence, policy, subject, statement, signingKey }: Closing): SessionEvent {
  return { event: 'closed', at, evidence, policy, subject, statement, signingKey };
}
