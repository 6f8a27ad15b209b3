import { Base64, Exact } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { Id, RefusalReply, State, Tier, Time } from './common.ts';
import { Reachability } from './presence.ts';
import { route } from './route.ts';

/** What a machine is for. One that builds and runs enrols twice, with two TPMs. */
export const AttesterKind = Type.Union([Type.Literal('builder'), Type.Literal('device')]);
export type AttesterKind = Static<typeof AttesterKind>;

export const EnrolRequest = Exact({
  attester: AttesterId,
  kind: AttesterKind,
  joinToken: Type.Optional(Type.String({ minLength: 16, maxLength: 128 })),
  /** DER. */
  ekCertificate: Base64(8192),
  /** DER, any order. */
  intermediates: Type.Array(Base64(8192), { maxItems: 8 }),
  /** TPMT_PUBLIC. */
  ekPublic: Base64(1024),
  /** TPMT_PUBLIC. */
  akPublic: Base64(1024),
});
export type EnrolRequest = Static<typeof EnrolRequest>;

export const EnrolChallenge = Exact({
  challenge: Id,
  /** TPM2B_ID_OBJECT contents (without the outer size). */
  credentialBlob: Base64(1024),
  /** TPM2B_ENCRYPTED_SECRET contents (without the outer size). */
  encryptedSecret: Base64(1024),
  expiresAt: Time,
});
export type EnrolChallenge = Static<typeof EnrolChallenge>;

/** admitted: may attest. pending: waits for the operator. held: clashes with another claim. refused: final. */
export const AdmissionState = Type.Union([
  Type.Literal('admitted'),
  Type.Literal('pending'),
  Type.Literal('held'),
  Type.Literal('refused'),
]);
export type AdmissionState = Static<typeof AdmissionState>;

export const EnrolStatus = Exact({
  attester: AttesterId,
  state: AdmissionState,
  reason: Type.Optional(RefusalReply),
});
export type EnrolStatus = Static<typeof EnrolStatus>;

const ChallengeParams = Exact({ challenge: Id });

export const enrolBegin = route({
  method: 'POST',
  path: '/v1/enrolments',
  access: ['public'],
  summary: 'Ask for a credential challenge, naming EK and AK',
  body: EnrolRequest,
  reply: EnrolChallenge,
});

/** The proof is HMAC-SHA256(secret, "kallio-enrolment-v1" || 0x00 || JCS(transcript)); see `enrolmentTranscript`. */
export const enrolProve = route({
  method: 'POST',
  path: '/v1/enrolments/:challenge/proof',
  access: ['public'],
  summary: 'Prove that EK and AK are in one TPM',
  params: ChallengeParams,
  body: Exact({ proof: Base64(32) }),
  reply: EnrolStatus,
});

export const enrolStatus = route({
  method: 'GET',
  path: '/v1/enrolments/:challenge',
  access: ['public'],
  summary: 'What became of a claim; known only to who made it',
  params: ChallengeParams,
  reply: EnrolStatus,
});

export const AttesterSummary = Exact({
  attester: AttesterId,
  kind: AttesterKind,
  admission: AdmissionState,
  state: State,
  tier: Type.Optional(Tier),
  /** SHA-256 of the EK's SubjectPublicKeyInfo, in hexadecimal. */
  ek: Type.String(),
  /** Name of the AK, in hexadecimal. */
  ak: Type.String(),
  enrolledAt: Time,
  lastEvidenceAt: Type.Optional(Time),
  /** SHA-256 digest of the last result. */
  result: Type.Optional(Type.String()),
  /** resetCount of the boot that the last result speaks of. */
  boot: Type.Optional(Type.Integer()),
  /** Of an admitted attester. No state: one that can’t be reached is still what its last evidence showed, until STALE. */
  reachability: Type.Optional(Reachability),
  reasons: Type.Array(RefusalReply),
});
export type AttesterSummary = Static<typeof AttesterSummary>;

const AttesterParams = Exact({ attester: AttesterId });

/** One decision about a claim on a name. Claims and decisions are never deleted. */
export const Admission = Exact({
  at: Time,
  /** superseded: a later claim took its place. */
  admission: Type.Union([AdmissionState, Type.Literal('superseded')]),
  /** Who or what decided: `token:NAME`, `join-token`, `ek-allow-list`, or `enrolment` where nobody has yet. */
  by: Type.String(),
  ek: Type.String(),
  ak: Type.String(),
  reason: Type.Optional(RefusalReply),
});
export type Admission = Static<typeof Admission>;

export const attesterHistory = route({
  method: 'GET',
  path: '/v1/attesters/:attester/admissions',
  access: ['viewer'],
  summary: 'Every decision about claims on this name, the newest 1000, oldest first',
  params: AttesterParams,
  reply: Exact({ admissions: Type.Array(Admission) }),
});

export const attestersList = route({
  method: 'GET',
  path: '/v1/attesters',
  access: ['viewer'],
  summary: 'Every attester and its state',
  reply: Exact({ attesters: Type.Array(AttesterSummary) }),
});

export const attesterShow = route({
  method: 'GET',
  path: '/v1/attesters/:attester',
  access: ['viewer'],
  summary: 'One attester',
  params: AttesterParams,
  reply: AttesterSummary,
});

export const attesterDecide = route({
  method: 'POST',
  path: '/v1/attesters/:attester/decision',
  access: ['operator'],
  summary: 'Admit or refuse a claim that waits or is held',
  params: AttesterParams,
  body: Exact({
    decision: Type.Union([Type.Literal('admit'), Type.Literal('refuse')]),
    /** SHA-256 of the EK meant (hexadecimal), so that the operator decides on the TPM that was shown. */
    ek: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  }),
  reply: AttesterSummary,
});

export const attesterPush = route({
  method: 'POST',
  path: '/v1/attesters/:attester/attest',
  access: ['operator'],
  summary: 'Ask an attester, over its stream, for evidence now',
  params: AttesterParams,
  reply: Exact({ asked: Type.Boolean() }),
});

export const joinTokenCreate = route({
  method: 'POST',
  path: '/v1/join-tokens',
  access: ['operator'],
  summary: 'Make a token that admits attesters',
  body: Exact({
    uses: Type.Integer({ minimum: 1, maximum: 10_000 }),
    ttlSeconds: Type.Integer({ minimum: 1, maximum: 30 * 86_400 }),
    kind: Type.Optional(AttesterKind),
    /** The only id it admits, where given. */
    attester: Type.Optional(AttesterId),
  }),
  reply: Exact({ token: Type.String(), expiresAt: Time }),
});

export const Role = Type.Union([Type.Literal('viewer'), Type.Literal('operator'), Type.Literal('admin')]);
export type Role = Static<typeof Role>;

const TokenName = Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' });
const TokenTtl = Type.Integer({ minimum: 60, maximum: 366 * 86_400 });
const TokenParams = Exact({ name: TokenName });

export const tokenCreate = route({
  method: 'POST',
  path: '/v1/tokens',
  access: ['admin'],
  summary: 'Make a bearer token for a person or a program',
  body: Exact({
    name: TokenName,
    role: Role,
    ttlSeconds: TokenTtl,
  }),
  reply: Exact({ token: Type.String(), expiresAt: Time }),
});

export const tokenRotate = route({
  method: 'POST',
  path: '/v1/tokens/:name/rotation',
  access: ['admin'],
  summary: 'Put a new bearer token in the place of one in force, which ends',
  params: TokenParams,
  body: Exact({ ttlSeconds: TokenTtl }),
  reply: Exact({ token: Type.String(), role: Role, expiresAt: Time }),
});

export const tokenRevoke = route({
  method: 'DELETE',
  path: '/v1/tokens/:name',
  access: ['admin'],
  summary: 'End a bearer token',
  params: TokenParams,
  reply: Exact({ revoked: Type.Boolean() }),
});
