import { Base64, DigestSchema, Exact, Hex } from '@kallio/codec';
import { AttesterId, Purpose } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { SubjectState } from './attestation.ts';
import { Ear, Id, Time } from './common.ts';
import { route } from './route.ts';

/** What an appraisal was made from, beside the evidence: with these it comes to the same result again. */
export const AppraisalBasis = Exact({
  /** SHA-256 of the policy (JCS). */
  policy: DigestSchema,
  /** Digest of what was kept of the attester before (docs/formats.md, Result); absent when nothing was. */
  previous: Type.Optional(DigestSchema),
  /** TPMT_PUBLIC of the enrolled AK. */
  ak: Base64(1024),
  /** Who vouches for the TPM. */
  endorsement: Type.Union([
    Exact({ kind: Type.Literal('maker') }),
    Exact({ kind: Type.Literal('hypervisor'), reason: Type.String() }),
    Exact({ kind: Type.Literal('private') }),
  ]),
  /** File manifests that stood for images, by manifest digest of the image. */
  images: Type.Record(Type.String(), DigestSchema),
  /** What the evidence was asked for. */
  expected: Exact({
    nonce: Hex(32),
    session: Type.Optional(Id),
    subject: Type.Optional(DigestSchema),
    statement: Type.Optional(DigestSchema),
    signingKey: Type.Optional(DigestSchema),
    tlsKey: Type.Optional(DigestSchema),
  }),
  appraisedAt: Time,
});
export type AppraisalBasis = Static<typeof AppraisalBasis>;

/** What stands behind a result: enough to say later why it came out so. */
export const AppraisalRecord = Exact({
  attester: AttesterId,
  purpose: Purpose,
  session: Type.Optional(Id),
  policy: Type.String(),
  platform: SubjectState,
  /** What the evidence can't show, in sentences. */
  limits: Type.Array(Type.String()),
  instances: Type.Record(Type.String(), SubjectState),
  /** resetCount of the boot that was seen; absent when the quote did not hold. */
  boot: Type.Optional(Type.Integer()),
  evidence: DigestSchema,
  /** Ids of announced updates that this boot rests on. */
  updates: Type.Optional(Type.Array(Type.String())),
  /** Absent in records of servers that did not keep it. */
  basis: Type.Optional(AppraisalBasis),
});
export type AppraisalRecord = Static<typeof AppraisalRecord>;

/** How a result's claims are named: `ietf` (draft-ietf-rats-ear-04, `ear_status`) or `dotted` (`ear.status`, Veraison). */
const ClaimNames = Type.Union([Type.Literal('ietf'), Type.Literal('dotted')]);

export const resultShow = route({
  method: 'GET',
  path: '/v1/results/:digest',
  access: ['viewer', 'attester'],
  summary: 'A signed result and the appraisal record behind it',
  params: Exact({ digest: DigestSchema }),
  /** Left out: `ietf`, as it was signed. The older names are signed anew by the key of the day. */
  query: Exact({ claims: Type.Optional(ClaimNames) }),
  reply: Exact({ ear: Ear, record: AppraisalRecord }),
});

/** Everything that a result was made from, so that anybody who may look can make it again. */
export const resultMaterial = route({
  method: 'GET',
  path: '/v1/results/:digest/material',
  access: ['viewer'],
  summary: 'What a result was made from: evidence, policy, and what was kept before',
  params: Exact({ digest: DigestSchema }),
  reply: Exact({
    ear: Ear,
    record: AppraisalRecord,
    /** The evidence message; its JCS has the digest that the record names. */
    evidence: Type.Unknown(),
    policy: Type.Unknown(),
    previous: Type.Optional(Type.Unknown()),
    /** The firmware's event log of that boot, base64, where it is still here. */
    eventLog: Type.Optional(Base64(1024 * 1024)),
    /** File manifests by manifest digest of the image. */
    images: Type.Record(Type.String(), Type.Unknown()),
  }),
});
