import { DigestSchema, Exact } from '@kallio/codec';
import { AttesterId, EvidenceMessage, InstanceVerb } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { SessionRecord } from './attestation.ts';
import { Id, State, Tier } from './common.ts';
import { Envelope, LogEntry } from './log.ts';
import { route } from './route.ts';
import { SigningState } from './signing-approval.ts';

/*
 * What a trust agent answers on its UNIX socket. The socket's mode is its access control: owner only.
 */

export const agentStatus = route({
  method: 'GET',
  path: '/v1/agent',
  access: ['public'],
  summary: 'Who this agent is and how it stands',
  reply: Exact({
    attester: AttesterId,
    kind: Type.Union([Type.Literal('builder'), Type.Literal('device')]),
    server: Type.String(),
    admitted: Type.Boolean(),
    state: State,
    tier: Type.Optional(Tier),
    lastEvidenceAt: Type.Optional(Type.String()),
    instances: Type.Array(Exact({ instance: Type.String(), container: Type.String(), image: DigestSchema })),
  }),
});

export const agentSessionOpen = route({
  method: 'POST',
  path: '/v1/build-sessions',
  access: ['public'],
  summary: 'Open an attestation session: evidence before the build',
  reply: SessionRecord,
});

export const agentSessionAttest = route({
  method: 'POST',
  path: '/v1/build-sessions/:session/evidence',
  access: ['public'],
  summary: 'Show evidence while the build goes on; it joins the session’s record',
  params: Exact({ session: Id }),
  reply: SessionRecord,
});

/**
 * Closes the session on a finished image. `claims` are the statement's fields that the builder knows (subject, image
 * configuration, file manifest); the agent adds the build-environment claims, signs in the TPM and logs.
 */
export const agentSessionClose = route({
  method: 'POST',
  path: '/v1/build-sessions/:session/close',
  access: ['public'],
  summary: 'Close the session on an image, sign it and log it',
  params: Exact({ session: Id }),
  body: Exact({ claims: Type.Unknown() }),
  reply: Exact({
    record: SessionRecord,
    envelope: Envelope,
    /** SPKI of the signing key, DER, base64. */
    publicKey: Type.String(),
    entry: LogEntry,
    /** The same key's SLSA provenance of the image, logged as well. */
    provenance: Exact({ envelope: Envelope, entry: LogEntry }),
    /** A proof of the signature's entry under a head that witnesses signed (C2SP tlog-proof), where the log has any. */
    witnessed: Type.Optional(Type.String({ maxLength: 40 * 1024 })),
    evidence: Type.Array(EvidenceMessage),
  }),
});

export const agentSessionAbandon = route({
  method: 'DELETE',
  path: '/v1/build-sessions/:session',
  access: ['public'],
  summary: 'Give a session up, because the build failed',
  params: Exact({ session: Id }),
  reply: Exact({}),
});

/** PCRs that an approval to sign is about, where nobody says which: firmware, boot loader, kernel, their policy. */
export const SIGNING_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

export const agentSigningState = route({
  method: 'GET',
  path: '/v1/signing-state',
  access: ['public'],
  summary: 'The PCR values in which the signing key would be used: what an operator approves',
  reply: SigningState,
});

export const agentRotateSigningKey = route({
  method: 'POST',
  path: '/v1/signing-key',
  access: ['public'],
  summary: 'Put a new signing key in the old one’s place; what the old one signed verifies as before',
  reply: Exact({
    /** SHA-256 of the new key's SPKI. */
    signingKey: DigestSchema,
  }),
});

/** The runtime shim's question: may this verb go on? Anything but 200 means no. */
export const shimAsk = route({
  method: 'POST',
  path: '/v1/shim/:verb/:container',
  access: ['public'],
  summary: 'May the runtime do this? The body is the exact config.json or process document',
  params: Exact({
    verb: InstanceVerb,
    container: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$' }),
  }),
  body: Type.Unknown(),
  reply: Exact({ allowed: Type.Literal(true) }),
});

export const agentAttest = route({
  method: 'POST',
  path: '/v1/attest',
  access: ['public'],
  summary: 'Show evidence to the server now',
  reply: Exact({ state: State, result: DigestSchema }),
});
export type AgentStatus = Static<typeof agentStatus.reply>;
