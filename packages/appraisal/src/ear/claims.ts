import { DigestSchema, Exact, Hex } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type Static, Type } from 'typebox';

/** Profile of the claims (draft-ietf-rats-ear-04, section 3.1): the IETF names, with underscores. */
export const EAR_PROFILE = 'tag:ietf.org,2026:rats/ear#04';

/** `typ` of the JWT (RFC 9782, EAT media types). */
export const EAR_TYPE = 'application/eat+jwt';

/** Our extension claims stand under one collision-resistant name (RFC 7519 section 4.2). */
export const EXTENSION = 'https://kallio.dev/ear/v1';

const TierSchema = Type.Union([Type.Literal('A'), Type.Literal('B'), Type.Literal('C')]);

const StateSchema = Type.Union([
  Type.Literal('VERIFIED'),
  Type.Literal('DEGRADED'),
  Type.Literal('VIOLATED'),
  Type.Literal('UNKNOWN'),
  Type.Literal('UNLOGGED'),
]);

const Reason = Exact({
  code: Type.String({ maxLength: 64 }),
  message: Type.String({ maxLength: 512 }),
  pointer: Type.Optional(Type.String({ maxLength: 512 })),
});

/** What a closed session adds to a result: what its closing quote committed to. */
export const SessionClaims = Exact({
  session: Type.String({ pattern: '^[A-Za-z0-9_-]{8,64}$' }),
  /** The image manifest. */
  subject: DigestSchema,
  /** The claims that were to be signed. */
  statement: DigestSchema,
  /** SHA-256 of the signing key's SPKI. */
  signingKey: DigestSchema,
  /** The TPM policy that alone opens the signing key: its `authPolicy`. Absent of a key that opens without one. */
  signingPolicy: Type.Optional(Hex(32)),
  /** Digests of the session's evidence messages, opening first. */
  evidence: Type.Array(DigestSchema, { minItems: 1, maxItems: 1024 }),
  /** The attester that built. */
  builder: AttesterId,
  tier: TierSchema,
  /** resetCount of the boot it was built in. */
  boot: Type.Integer({ minimum: 0 }),
  /** Secure boot was on, with the keys that the appraisal policy names; absent where the policy doesn't ask. */
  secureBoot: Type.Optional(Type.Literal(true)),
  /** SHA-256 (JCS) of the appraisal policy that all evidence of the session was judged by. Absent in older results. */
  policy: Type.Optional(DigestSchema),
  /** Head of the session's digest chain after its closing: the events that it stands for can't be others. Absent in older results. */
  head: Type.Optional(DigestSchema),
});
export type SessionClaims = Static<typeof SessionClaims>;

/** Tiers of trustworthiness in JSON (draft-ietf-rats-ar4si, section 2.3.2). */
const Status = Type.Union([
  Type.Literal('none'),
  Type.Literal('affirming'),
  Type.Literal('warning'),
  Type.Literal('contraindicated'),
]);
export type Status = Static<typeof Status>;

const Claim = Type.Integer({ minimum: -128, maximum: 127 });

/** The categories that are asserted here. */
const Vector = Exact({
  'instance-identity': Type.Optional(Claim),
  configuration: Type.Optional(Claim),
  executables: Type.Optional(Claim),
  'file-system': Type.Optional(Claim),
  hardware: Type.Optional(Claim),
});
export type TrustVector = Static<typeof Vector>;

const submodule = <E extends Parameters<typeof Exact>[0]>(extension: E) =>
  Exact({
    ear_status: Status,
    ear_trustworthiness_vector: Vector,
    ear_appraisal_policy_ids: Type.Array(Type.String({ minLength: 1, maxLength: 256 }), {
      minItems: 1,
      maxItems: 16,
    }),
    [EXTENSION]: Exact(extension),
  });

const Platform = submodule({
  state: StateSchema,
  tier: Type.Optional(TierSchema),
  boot: Type.Optional(Type.Integer({ minimum: 0 })),
  /** SHA-256 of the evidence message (JCS). */
  evidence: DigestSchema,
  reasons: Type.Array(Reason, { maxItems: 8 }),
  limits: Type.Array(Type.String({ maxLength: 512 }), { maxItems: 64 }),
});

/** The sub-module of one instance. */
export const Instance = submodule({
  state: StateSchema,
  container: Type.String({ maxLength: 256 }),
  image: Type.Optional(DigestSchema),
  reasons: Type.Array(Reason, { maxItems: 8 }),
});

const BuildEnvironment = submodule({ session: SessionClaims });

/** The claims as they are signed. Every field is named here: an unknown one is refused. */
export const EarPayload = Exact({
  iss: Type.String({ minLength: 1, maxLength: 256 }),
  sub: AttesterId,
  iat: Type.Integer({ minimum: 0 }),
  exp: Type.Integer({ minimum: 0 }),
  eat_profile: Type.Literal(EAR_PROFILE),
  ear_verifier_id: Exact({
    developer: Type.String({ maxLength: 256 }),
    build: Type.String({ maxLength: 256 }),
  }),
  /** Beside these two, `instance:<name>`: an {@link Instance} each. */
  submods: Type.Object({ platform: Platform, 'build-env': Type.Optional(BuildEnvironment) }),
});
export type EarPayload = Static<typeof EarPayload>;
export type PlatformClaims = Static<typeof Platform>;
export type InstanceClaims = Static<typeof Instance>;

/** Name of an instance's sub-module. */
export const INSTANCE_PREFIX = 'instance:';
