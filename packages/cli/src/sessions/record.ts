import { type EarTrust, type SessionClaims, verifyEar } from '@kallio/appraisal';
import { KallioError, sameJson } from '@kallio/codec';
import {
  type Client,
  differsFromEvents,
  type SessionEvent,
  type SessionRecord,
  sessionEvents,
  sessionShow,
  trustShow,
} from '@kallio/protocol';
import { cliError } from '../output/output.ts';

/**
 * What the signed result says of the events: it names their head; it is of a server that named none; it is signed with a key
 * that the server publishes no more, so that nobody can say; or there is none.
 */
export type ResultOfSession = 'names-them' | 'older' | 'key-unknown' | 'none';

/** A session's record, and the events that lead to it. */
export interface ShownSession {
  readonly record: SessionRecord;
  readonly events: readonly SessionEvent[];
  readonly result: ResultOfSession;
}

/** A session as a server shows it, held against its own events and its signed result: `SESSION_RECORD_BROKEN`. */
export async function shownSession(client: Client, session: string): Promise<ShownSession> {
  const params = { session };
  const record = await client.call(sessionShow, { params });
  const { events } = await client.call(sessionEvents, { params });
  // One that is under way may have gone on in between.
  const same = record.head === (await client.call(sessionShow, { params })).head;
  return same
    ? checkSession(record, events, await client.call(trustShow, {}))
    : shownSession(client, session);
}

/** The same, of what was fetched. Whether the server is to be trusted with keys, its own answer can't say. */
export async function checkSession(
  record: SessionRecord,
  events: readonly SessionEvent[],
  trust: EarTrust,
): Promise<ShownSession> {
  const differs = differsFromEvents(record, events);
  if (differs !== undefined) throw broken(`Its events lead to another ${differs}.`);
  if (record.ear === undefined) return { record, events, result: 'none' };
  const claims = await claimsOf(record.ear, trust, new Date(record.closedAt ?? record.createdAt));
  if (claims === 'key-unknown') return { record, events, result: claims };
  const { session, subject, statement, evidence, head = record.head, policy } = claims ?? {};
  const said = { session, subject, statement, evidence, head, policy };
  const own = { ...record, policy: policy === undefined ? undefined : record.policy?.digest };
  const other = Object.entries(said).find(
    ([field, value]) => !sameJson(value ?? null, own[field as keyof typeof said] ?? null),
  );
  if (other !== undefined) throw broken(`Its signed result names another ${other[0]}.`);
  return { record, events, result: claims?.head === undefined ? 'older' : 'names-them' };
}

async function claimsOf(
  ear: string,
  trust: EarTrust,
  at: Date,
): Promise<SessionClaims | 'key-unknown' | undefined> {
  try {
    return (await verifyEar(ear, trust, at)).session;
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    if (error.code === 'EAR_KEY_UNKNOWN') return 'key-unknown';
    throw broken(`Its signed result does not hold: ${error.message} (${error.code})`);
  }
}

function broken(why: string) {
  return cliError(
    'SESSION_RECORD_BROKEN',
    `What the server shows of this session contradicts itself. ${why}`,
    'Its record was altered, where it is kept or on its way here. What rests on it should be looked at.',
  );
}
