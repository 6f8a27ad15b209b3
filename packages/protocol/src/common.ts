import { Exact } from '@kallio/codec';
import { type Static, Type } from 'typebox';

/** How every refusal travels. `code` is stable; `message` is for a person; `pointer` says where. */
export const ErrorReply = Exact({
  error: Exact({
    code: Type.String({ maxLength: 64 }),
    message: Type.String({ maxLength: 4096 }),
    pointer: Type.Optional(Type.String({ maxLength: 4096 })),
    hint: Type.Optional(Type.String({ maxLength: 4096 })),
  }),
});
export type ErrorReply = Static<typeof ErrorReply>;

/** A refusal inside another message. */
export const RefusalReply = ErrorReply.properties.error;

/** States of a subject (docs/formats.md). STALE and UNKNOWN are never treated as VERIFIED. */
export const State = Type.Union([
  Type.Literal('VERIFIED'),
  Type.Literal('DEGRADED'),
  Type.Literal('VIOLATED'),
  Type.Literal('STALE'),
  Type.Literal('UNKNOWN'),
  Type.Literal('UNLOGGED'),
]);
export type State = Static<typeof State>;

/** Strength of a platform's evidence: A measured boot and verified root, B measured boot and IMA, C neither. */
export const Tier = Type.Union([Type.Literal('A'), Type.Literal('B'), Type.Literal('C')]);
export type Tier = Static<typeof Tier>;

/** Unguessable identifiers made by a server: 128 bits and more, URL-safe. */
export const Id = Type.String({ pattern: '^[A-Za-z0-9_-]{8,64}$' });

/** RFC 3339, UTC. */
export const Time = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(?:\\.\\d{1,3})?Z$' });

/** A signed attestation result: a compact JWT of type `application/eat+jwt`. */
export const Ear = Type.String({
  maxLength: 64 * 1024,
  pattern: '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$',
});

/** Codes that any server may answer with, whatever the route. */
export type ProtocolCode =
  | 'REQUEST_INVALID'
  | 'REQUEST_TOO_LARGE'
  | 'NOT_FOUND'
  | 'UNAUTHENTICATED'
  | 'FORBIDDEN'
  | 'CONFLICT'
  | 'RATE_LIMITED'
  | 'SERVER_BUSY'
  | 'INTERNAL'
  | 'SERVER_UNREACHABLE'
  | 'SERVER_UNTRUSTED'
  | 'AGENT_UNREACHABLE'
  | 'REPLY_INVALID';
