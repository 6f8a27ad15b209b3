import { DigestSchema, Exact } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { Id, RefusalReply, State, Tier, Time } from './common.ts';
import { AdmissionState } from './enrolment.ts';
import { route } from './route.ts';

/*
 * Every change of state, in order, as the server keeps it: read, followed as a stream, or brought by a webhook.
 */

/** A subject that no evidence speaks of any more has no state; neither has one before its first evidence. */
const NoState = Type.Literal('GONE');

const Change = {
  attester: AttesterId,
  from: Type.Union([State, NoState]),
  to: Type.Union([State, NoState]),
  /** SHA-256 of the EAR's text; absent where time alone made the change. */
  result: Type.Optional(DigestSchema),
  reasons: Type.Array(RefusalReply),
};

const Session = Exact({
  session: Id,
  attester: AttesterId,
  subject: Type.Optional(DigestSchema),
  reason: Type.Optional(RefusalReply),
});

const event = <T extends string, D extends Parameters<typeof Type.Object>[0][string]>(type: T, data: D) =>
  Exact({
    /** Grows by time; the next one may be further on. */
    event: Type.Integer({ minimum: 1 }),
    at: Time,
    type: Type.Literal(type),
    data,
  });

/** One change of state. */
export const ServerEvent = Type.Union([
  event(
    'attester.state',
    Exact({ ...Change, tier: Type.Optional(Tier), boot: Type.Optional(Type.Integer()) }),
  ),
  event('instance.state', Exact({ ...Change, instance: Type.String() })),
  event('session.created', Session),
  event('session.opened', Session),
  event('session.attested', Session),
  event('session.closed', Session),
  event('session.failed', Session),
  event('session.expired', Session),
  event(
    'claim.decided',
    Exact({
      attester: AttesterId,
      /** SHA-256 of the EK's TPMT_PUBLIC, in hexadecimal. */
      ek: Type.String(),
      state: Type.Union([AdmissionState, Type.Literal('superseded')]),
      by: Type.String(),
      reason: Type.Optional(RefusalReply),
    }),
  ),
]);
export type ServerEvent = Static<typeof ServerEvent>;
export const EventType = Type.Union([
  Type.Literal('attester.state'),
  Type.Literal('instance.state'),
  Type.Literal('session.created'),
  Type.Literal('session.opened'),
  Type.Literal('session.attested'),
  Type.Literal('session.closed'),
  Type.Literal('session.failed'),
  Type.Literal('session.expired'),
  Type.Literal('claim.decided'),
]);

export type EventType = Static<typeof EventType>;

/**
 * Server-sent events to viewers, each under its number: resumed by `Last-Event-ID`, or `?after=`. The stream ends now and
 * then, so that a token that was revoked hears nothing more: come back with the last number.
 */
export const EVENT_STREAM = '/v1/events';

export const eventsList = route({
  method: 'GET',
  path: '/v1/events/past',
  access: ['viewer'],
  summary: 'Changes of state that the server still keeps, oldest first',
  query: Exact({
    after: Type.Optional(Type.Integer({ minimum: 0 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
  }),
  reply: Exact({
    events: Type.Array(ServerEvent),
    /** Number of the last event there is. */
    last: Type.Integer({ minimum: 0 }),
  }),
});

export const WebhookView = Exact({
  webhook: Id,
  url: Type.String(),
  /** Types of events it is told; all of them where none is named. */
  events: Type.Array(EventType),
  createdAt: Time,
  /** Events that wait to be told. */
  waiting: Type.Integer(),
  /** Events that were given up: see docs/operations.md. */
  dead: Type.Integer(),
  /** Why the last attempt failed. */
  trouble: Type.Optional(Type.String()),
  /** The receiver said that it is gone (410): it is told nothing more. */
  ended: Type.Boolean(),
});
export type WebhookView = Static<typeof WebhookView>;

export const webhooksList = route({
  method: 'GET',
  path: '/v1/webhooks',
  access: ['operator'],
  summary: 'Who is told of changes of state',
  reply: Exact({ webhooks: Type.Array(WebhookView) }),
});

export const webhookCreate = route({
  method: 'POST',
  path: '/v1/webhooks',
  access: ['operator'],
  summary: 'Have an address told of changes of state, signed as Standard Webhooks says',
  body: Exact({
    /** https; http only to this machine itself. */
    url: Type.String({ minLength: 8, maxLength: 2048 }),
    events: Type.Array(EventType, { maxItems: 8, uniqueItems: true }),
    /** `whsec_` and base64 of 24 to 64 bytes. */
    secret: Type.String({ pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$' }),
    /** PEM of the only authority believed for the receiver, where it is not a public one. */
    ca: Type.Optional(Type.String({ maxLength: 65_536 })),
  }),
  reply: WebhookView,
});

export const webhookRemove = route({
  method: 'DELETE',
  path: '/v1/webhooks/:webhook',
  access: ['operator'],
  summary: 'Tell an address nothing more',
  params: Exact({ webhook: Id }),
  reply: Exact({ removed: Type.Boolean() }),
});
