import { Base64, DigestSchema, Exact } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { PLATFORM_PATTERN } from '@kallio/oci';
import { type Static, Type } from 'typebox';
import { Tier } from '../statement.ts';

/** A point in time: RFC 3339, UTC. */
const Time = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,3})?Z$' });
const Seconds = Type.Integer({ minimum: 1 });
const Name = Type.String({ minLength: 1, maxLength: 512 });
/** A key as C2SP writes it (signed-note, "Verifier keys"): `<name>+<key id>+<base64 of type and key>`. */
const VerifierKey = Type.String({ minLength: 16, maxLength: 512 });

const Log = Exact({
  origin: Type.String({ minLength: 1, maxLength: 256 }),
  /** SPKI, DER. */
  publicKey: Base64(256),
  /** The same log's Ed25519 key, by which it signs the heads that witnesses see. Demanded where witnesses are named. */
  verifierKey: Type.Optional(VerifierKey),
});

const Witnesses = Exact({
  /** So many of them must have signed one head that covers the signature's log entry. */
  quorum: Type.Integer({ minimum: 1, maximum: 64 }),
  keys: Type.Array(VerifierKey, { minItems: 1, maxItems: 64 }),
});

/** What the signed claims must say. Everything that is named is demanded; of a list, one must fit. */
const Require = Exact({
  /** Repositories (`registry/repository`) that the image may have been built for. */
  names: Type.Optional(Type.Array(Name, { minItems: 1, maxItems: 1024 })),
  /** Labels by name, with the values that they may have; with none, any value that is not empty. */
  labels: Type.Optional(
    Type.Record(
      Type.String({ minLength: 1, maxLength: 512 }),
      Type.Array(Type.String({ maxLength: 4096 }), { maxItems: 256 }),
    ),
  ),
  /** Base images: the image's layers begin with those of one of them. */
  bases: Type.Optional(
    Type.Array(Exact({ name: Name, layers: Type.Array(DigestSchema, { minItems: 1, maxItems: 512 }) }), {
      minItems: 1,
      maxItems: 1024,
    }),
  ),
  /** The image's processes don't start as root: its user is a number other than 0. */
  nonRoot: Type.Optional(Type.Literal(true)),
  /** The signature names a file manifest with files in it. */
  fileManifest: Type.Optional(Type.Literal(true)),
  /** The build host booted with secure boot on, under the keys that its appraisal policy names. */
  secureBoot: Type.Optional(Type.Literal(true)),
  /**
   * Operators by whose approvals alone the signing key opens: the Name (TPM 2.0 Part 1 section 16) of the key by which they
   * approve PCR states, hexadecimal. `kallio policy image --signing-authority` computes it.
   */
  signingAuthority: Type.Optional(
    Type.Array(Type.String({ pattern: '^000b[0-9a-f]{64}$' }), { minItems: 1, maxItems: 64 }),
  ),
  /** So many evidence messages of the session: 2 are the opening and the closing one. */
  evidence: Type.Optional(Type.Integer({ minimum: 2, maximum: 64 })),
});

const Reason = Type.String({ minLength: 1, maxLength: 512 });
const Since = Type.Optional(Time);

/** What is not believed any more: exactly one thing, why, and from when on; without a time, from the beginning. */
const Revocation = Type.Union([
  Exact({ builder: AttesterId, reason: Reason, since: Since }),
  Exact({ signingKey: DigestSchema, reason: Reason, since: Since }),
  Exact({ image: DigestSchema, reason: Reason, since: Since }),
  Exact({ layer: DigestSchema, reason: Reason, since: Since }),
  Exact({ statement: DigestSchema, reason: Reason, since: Since }),
  Exact({ session: Type.String({ pattern: '^[A-Za-z0-9_-]{8,64}$' }), reason: Reason, since: Since }),
  Exact({ evidence: DigestSchema, reason: Reason, since: Since }),
]);
export type Revocation = Static<typeof Revocation>;

/**
 * What a relying party demands of an image's signature. Every list names at least one thing: a policy that demands
 * nothing can't be written. docs/policy.md explains it field by field.
 */
export const ImagePolicy = Exact({
  policy: Type.Literal('kallio-image-policy-v1'),
  /** The attestation server whose results are believed: the EAR's `iss`. */
  issuer: Type.String({ minLength: 1, maxLength: 256 }),
  /** Its result-signing keys, as GET /v1/trust shows them: fetched once over a trusted channel, and pinned. */
  jwks: Exact({
    keys: Type.Array(Type.Record(Type.String(), Type.Unknown()), { minItems: 1, maxItems: 16 }),
  }),
  /** Logs of which an image signature must stand in one. A log with a new key is a new log. */
  logs: Type.Array(Log, { minItems: 1, maxItems: 16 }),
  witnesses: Type.Optional(Witnesses),
  /** Attesters whose builds are accepted. */
  builders: Type.Array(AttesterId, { minItems: 1, maxItems: 1024 }),
  /** Tiers of build environment that are accepted. */
  tiers: Type.Array(Tier, { minItems: 1, maxItems: 3 }),
  /** Signing keys (SHA-256 of the SPKI) that are accepted. Without it, any that the session vouches for. */
  signingKeys: Type.Optional(Type.Array(DigestSchema, { minItems: 1, maxItems: 1024 })),
  /** Appraisal policies (their `id`) by which a build environment may have been judged. */
  appraisalPolicies: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { minItems: 1, maxItems: 256 }),
  ),
  require: Type.Optional(Require),
  revoked: Type.Optional(Type.Array(Revocation, { minItems: 1, maxItems: 4096 })),
  /** Longest time since the signature was logged. */
  maxAgeSeconds: Type.Optional(Seconds),
  /** Longest time from the closing evidence's result to the log entry. */
  maxResultAgeSeconds: Type.Optional(Seconds),
  /** The machine that an image must run on: `os/architecture`, or `os/architecture/variant`. */
  platform: Type.Optional(Type.String({ pattern: PLATFORM_PATTERN })),
});
export type ImagePolicy = Static<typeof ImagePolicy>;

/** The image policy as JSON Schema, for editors and generators. */
export function imagePolicySchema(): Readonly<Record<string, unknown>> {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://kallio.dev/image-policy/v1',
    title: 'Kallio image policy',
    description: 'docs/policy.md explains it field by field.',
    ...JSON.parse(JSON.stringify(ImagePolicy)),
  };
}
