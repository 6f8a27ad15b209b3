import { Base64, DigestSchema, Exact, Hex } from '@kallio/codec';
import { Attestation, AttesterId, EvidenceMessage, Purpose } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { Ear, Id, RefusalReply, State, Tier, Time } from './common.ts';
import { route } from './route.ts';

/** What the server has judged of an attester and keeps: evidence goes on from there, and shows the rest no more. */
const Held = Exact({
  /** Entries of the IMA log. */
  ima: Type.Integer({ minimum: 0 }),
  /** Entries of the instance log. */
  instanceLog: Type.Integer({ minimum: 0 }),
  /** resetCount; absent while nothing is kept. In another boot everything begins anew. */
  boot: Type.Optional(Type.Integer()),
  /** SHA-256 of the firmware's event log. */
  eventLog: Type.Optional(DigestSchema),
  /** SHA-256 of the last inventory (JCS). */
  inventory: Type.Optional(DigestSchema),
});
export type Held = Static<typeof Held>;

/** A nonce is single-use, for one attester and one purpose, and short-lived. */
export const nonceCreate = route({
  method: 'POST',
  path: '/v1/nonces',
  access: ['public', 'attester'],
  summary: 'A nonce for evidence; without a client certificate only for purpose transport-key',
  body: Exact({
    attester: AttesterId,
    purpose: Purpose,
    session: Type.Optional(Id),
    /**
     * The challenge by whose answer this attester was admitted, which only it knows: without it, or a certificate, nobody
     * hears what is held of an attester, or whether it is known at all.
     */
    enrolment: Type.Optional(Id),
  }),
  reply: Exact({
    nonce: Hex(32),
    expiresAt: Time,
    from: Held,
  }),
});

export const certificateCreate = route({
  method: 'POST',
  path: '/v1/certificates',
  access: ['public'],
  summary: 'A short-lived client certificate for a TLS key that fresh evidence names',
  body: Exact({
    evidence: EvidenceMessage,
    /** SubjectPublicKeyInfo, DER, P-256. */
    tlsKey: Base64(256),
  }),
  reply: Exact({ certificate: Type.String({ maxLength: 16_384 }), notAfter: Time }),
});

export const SubjectState = Exact({
  state: State,
  tier: Type.Optional(Tier),
  reasons: Type.Array(RefusalReply),
});
export type SubjectState = Static<typeof SubjectState>;

/** What appraisal of one evidence message came to. The signed result itself is fetched where it is needed. */
export const EvidenceReply = Exact({
  /** SHA-256 of the EAR's text: see {@link resultShow}. */
  result: DigestSchema,
  platform: SubjectState,
  instances: Type.Record(Type.String(), SubjectState),
  /** What need not be sent again in this boot. */
  acknowledged: Held,
  /** The nonce for the next evidence of purpose `attest`, so that a cycle is one request; and how long it may be used. */
  next: Exact({ nonce: Hex(32), seconds: Type.Integer({ minimum: 1 }) }),
});
export type EvidenceReply = Static<typeof EvidenceReply>;

export const evidenceSubmit = route({
  method: 'POST',
  path: '/v1/evidence',
  access: ['attester'],
  summary: 'Show evidence',
  body: EvidenceMessage,
  reply: EvidenceReply,
});

/** Evidence with everything that is needed to judge it again: by another policy, or to learn reference values from it. */
export const AttesterMeasurements = Exact({
  attester: AttesterId,
  /** Digest of the result that the evidence led to, and its platform’s state. */
  result: DigestSchema,
  state: State,
  at: Time,
  /** TPMT_PUBLIC of the enrolled AK. */
  akPublic: Base64(1024),
  /** As it was shown, for purpose `attest`. */
  evidence: EvidenceMessage,
  /** The logs of its boot, whole: not only what this evidence had of them. */
  eventLog: Type.Optional(Base64(1024 * 1024)),
  ima: Type.Optional(Base64(32 * 1024 * 1024)),
  instanceLog: EvidenceMessage.properties.instanceLog,
  /** SHA-256 of measured files that belong to images which the instance log names. */
  imageFiles: Type.Array(Hex(32)),
});
export type AttesterMeasurements = Static<typeof AttesterMeasurements>;

export const attesterMeasurements = route({
  method: 'GET',
  path: '/v1/attesters/:attester/measurements',
  access: ['operator'],
  summary: 'The last authentic evidence of an attester with the logs of its boot',
  params: Exact({ attester: AttesterId }),
  reply: AttesterMeasurements,
});

export const resultMeasurements = route({
  method: 'GET',
  path: '/v1/results/:digest/measurements',
  access: ['operator'],
  summary: 'The evidence behind a result with the logs of its boot',
  params: Exact({ digest: DigestSchema }),
  reply: AttesterMeasurements,
});

export const SessionState = Type.Union([
  Type.Literal('opening'),
  Type.Literal('open'),
  Type.Literal('closed'),
  Type.Literal('failed'),
  Type.Literal('expired'),
]);
export type SessionState = Static<typeof SessionState>;

/** The appraisal policy that a session's evidence is judged by: its `id`, and SHA-256 of its JCS. */
export const SessionPolicy = Exact({ id: Type.String({ maxLength: 256 }), digest: DigestSchema });
export type SessionPolicy = Static<typeof SessionPolicy>;

export const SessionRecord = Exact({
  session: Id,
  attester: AttesterId,
  purpose: Type.Literal('image-build'),
  state: SessionState,
  /** In force when the session was created, and for all of its evidence. Absent in sessions of servers that noted none. */
  policy: Type.Optional(SessionPolicy),
  createdAt: Time,
  expiresAt: Time,
  closedAt: Type.Optional(Time),
  subject: Type.Optional(DigestSchema),
  statement: Type.Optional(DigestSchema),
  reason: Type.Optional(RefusalReply),
  /** Digests of the evidence messages (JCS), opening first. */
  evidence: Type.Array(DigestSchema),
  /** Head of the record's digest chain: of what `sessionEvents` answers. */
  head: DigestSchema,
  /** Present once closed: the result that travels in the image signature. */
  ear: Type.Optional(Ear),
  /** Where its image signature stands in this server's log. Absent as long as none was logged, as after a build that broke off. */
  logIndex: Type.Optional(Type.Integer({ minimum: 0 })),
});
export type SessionRecord = Static<typeof SessionRecord>;

export const SessionParams = Exact({ session: Id });

export const sessionCreate = route({
  method: 'POST',
  path: '/v1/sessions',
  access: ['attester'],
  summary: 'Begin an attestation session; it is open once its first evidence is appraised',
  body: Exact({ purpose: Type.Literal('image-build') }),
  reply: Exact({
    session: Id,
    nonce: Hex(32),
    expiresAt: Time,
    /** What the evidence will be judged by, all of it: a change ends the session. */
    policy: Type.Optional(SessionPolicy),
    /** As in {@link nonceCreate}. */
    from: Held,
  }),
});

export const sessionOpen = route({
  method: 'POST',
  path: '/v1/sessions/:session/open',
  access: ['attester'],
  summary: 'The evidence before the build',
  params: SessionParams,
  body: Exact({ evidence: EvidenceMessage }),
  reply: SessionRecord,
});

export const sessionAttest = route({
  method: 'POST',
  path: '/v1/sessions/:session/evidence',
  access: ['attester'],
  summary: 'Evidence while the build goes on, which joins the session’s record',
  params: SessionParams,
  body: Exact({ evidence: EvidenceMessage }),
  reply: SessionRecord,
});

export const sessionClose = route({
  method: 'POST',
  path: '/v1/sessions/:session/close',
  access: ['attester'],
  summary: 'The evidence after the build, committed to one image; the session never changes again',
  params: SessionParams,
  body: Exact({
    subject: DigestSchema,
    statement: DigestSchema,
    signingKey: Exact({ public: Base64(1024), certification: Attestation }),
    evidence: EvidenceMessage,
  }),
  reply: SessionRecord,
});

export const sessionAbandon = route({
  method: 'DELETE',
  path: '/v1/sessions/:session',
  access: ['attester'],
  summary: 'Give a session up that has not ended; it counts as failed',
  params: SessionParams,
  reply: SessionRecord,
});

export const sessionsList = route({
  method: 'GET',
  path: '/v1/sessions',
  access: ['viewer'],
  summary: 'Attestation sessions, newest first',
  reply: Exact({ sessions: Type.Array(SessionRecord) }),
});

export const sessionShow = route({
  method: 'GET',
  path: '/v1/sessions/:session',
  access: ['viewer', 'attester'],
  summary: 'One attestation session',
  params: SessionParams,
  reply: SessionRecord,
});

/** What a relying party must hold to check results and log entries offline. */
export const TrustBundle = Exact({
  /** Server's name, the EAR's `iss`. */
  issuer: Type.String(),
  /** JWKS of the result-signing keys. */
  jwks: Exact({ keys: Type.Array(Type.Record(Type.String(), Type.Unknown()), { maxItems: 16 }) }),
  log: Exact({
    origin: Type.String(),
    /** SPKI, DER. */
    publicKey: Base64(256),
    /** The log's Ed25519 key, as C2SP writes it: by it the heads are signed that witnesses see. */
    verifierKey: Type.String(),
    /** Verifier keys of the witnesses that the log shows its heads to. Whether they are to be trusted, it can't say. */
    witnesses: Type.Array(Type.String(), { maxItems: 64 }),
    baseUrl: Type.String(),
  }),
});
export type TrustBundle = Static<typeof TrustBundle>;

export const trustShow = route({
  method: 'GET',
  path: '/v1/trust',
  access: ['public'],
  summary: 'The public keys of results and log. Fetch it once, over a channel you trust, and pin it',
  reply: TrustBundle,
});

export const statusShow = route({
  method: 'GET',
  path: '/v1/status',
  access: ['public'],
  summary: 'Is the server up, and which version',
  reply: Exact({
    name: Type.Literal('kallio'),
    version: Type.String(),
    roles: Type.Array(Type.String()),
    time: Time,
  }),
});

/** Server-sent events to an attester: `event: attest` with an empty object asks for evidence now. */
export const ATTESTER_STREAM = '/v1/stream';
