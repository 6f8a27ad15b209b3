import {
  canonicalBytes,
  concat,
  type Digest,
  DigestSchema,
  digestOf,
  Exact,
  sameJson,
  utf8,
} from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { SessionParams, SessionPolicy, type SessionRecord, type SessionState } from './attestation.ts';
import { Ear, Id, RefusalReply } from './common.ts';
import { route } from './route.ts';

/** What a session's last evidence showed; the next is held against it. */
export const Opening = Exact({
  resetCount: Type.Integer(),
  restartCount: Type.Integer(),
  /** TPM clock in milliseconds, decimal. */
  clock: Type.String({ pattern: '^[0-9]{1,20}$' }),
  /** Name of the AK, hexadecimal. */
  ak: Type.String({ maxLength: 256 }),
});
export type Opening = Static<typeof Opening>;

/** Milliseconds since 1970, UTC. */
const At = Type.Integer({ minimum: 0 });
/** Absent in what servers wrote that did not note it. */
const Policy = Type.Optional(SessionPolicy);

/** One step in a session's life, as it was written down. The chain over these is what `head` stands for. */
export const SessionEvent = Type.Union([
  Exact({ event: Type.Literal('created'), at: At, attester: AttesterId, expiresAt: At, policy: Policy }),
  Exact({ event: Type.Literal('opened'), at: At, evidence: DigestSchema, opening: Opening, policy: Policy }),
  Exact({
    event: Type.Literal('attested'),
    at: At,
    evidence: DigestSchema,
    opening: Opening,
    policy: Policy,
  }),
  Exact({
    event: Type.Literal('closed'),
    at: At,
    evidence: DigestSchema,
    subject: DigestSchema,
    statement: DigestSchema,
    /** SHA-256 of the signing key's SPKI. */
    signingKey: DigestSchema,
    policy: Policy,
    /** In old ones only: a result that names the head after this event can't stand in it. */
    ear: Type.Optional(Ear),
  }),
  Exact({
    event: Type.Literal('failed'),
    at: At,
    reason: RefusalReply,
    evidence: Type.Optional(DigestSchema),
  }),
  Exact({ event: Type.Literal('expired'), at: At, reason: RefusalReply }),
]);
export type SessionEvent = Static<typeof SessionEvent>;

const LABEL = concat(utf8('kallio-session-v1'), new Uint8Array(1));

/** The head of a session's chain before its first event. */
export function firstHead(session: string): Digest {
  return digestOf(utf8(session));
}

/** The head after one more event: SHA-256("kallio-session-v1" || 0x00 || head || JCS(event)). */
export function nextHead(head: Digest, event: SessionEvent): Digest {
  return digestOf(concat(LABEL, utf8(head), canonicalBytes(event)));
}

/** What the events of a session say of it: what its record must say. */
type Told = Pick<SessionRecord, 'state' | 'evidence' | 'head'> &
  Partial<Pick<SessionRecord, 'attester' | 'subject' | 'statement' | 'reason' | 'policy'>>;

const STATE_AFTER: Readonly<Record<SessionEvent['event'], SessionState>> = {
  created: 'opening',
  opened: 'open',
  attested: 'open',
  closed: 'closed',
  failed: 'failed',
  expired: 'expired',
};

function told(session: string, events: readonly SessionEvent[]): Told {
  let head = firstHead(session);
  let so: Omit<Told, 'head'> = { state: 'opening', evidence: [] };
  for (const event of events) {
    head = nextHead(head, event);
    so = { ...so, ...toldBy(event), state: STATE_AFTER[event.event] };
    if ('evidence' in event && event.evidence !== undefined)
      so = { ...so, evidence: [...so.evidence, event.evidence] };
  }
  return { ...so, head };
}

function toldBy(event: SessionEvent): Omit<Partial<Told>, 'evidence'> {
  const judgedBy = 'policy' in event && event.policy !== undefined ? { policy: event.policy } : {};
  switch (event.event) {
    case 'created':
      return { attester: event.attester, ...judgedBy };
    case 'closed':
      return { subject: event.subject, statement: event.statement, ...judgedBy };
    case 'failed':
    case 'expired':
      return { reason: event.reason };
    default:
      return judgedBy;
  }
}

/**
 * The first field of a session's record that its events do not lead to; undefined where all do. Attack: a record that was
 * altered where it is kept, or on its way, with its events left as they are, or the other way round.
 */
export function differsFromEvents(
  record: SessionRecord,
  events: readonly SessionEvent[],
): string | undefined {
  const said = told(record.session, events);
  const fields = [
    'head',
    'attester',
    'state',
    'evidence',
    'subject',
    'statement',
    'reason',
    'policy',
  ] as const;
  return fields.find((field) => !sameJson(said[field] ?? null, record[field] ?? null));
}

export const sessionEvents = route({
  method: 'GET',
  path: '/v1/sessions/:session/events',
  access: ['viewer', 'attester'],
  summary: 'What happened in a session, oldest first: what the head of its record stands for',
  params: SessionParams,
  reply: Exact({ session: Id, events: Type.Array(SessionEvent, { maxItems: 256 }) }),
});
