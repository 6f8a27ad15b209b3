import { Base64, decodeShape, Exact, fromBase64 } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type TrustedLog, trustedLog } from '@kallio/tlog';
import { type Static, Type } from 'typebox';
import { Tier } from './statement.ts';

/**
 * What a relying party demands of an image's signature. Every list names at least one thing: a policy that demands
 * nothing can't be written.
 */
export const ImagePolicy = Exact({
  policy: Type.Literal('kallio-image-policy-v1'),
  /** The attestation server whose results are believed: the EAR's `iss`. */
  issuer: Type.String({ minLength: 1, maxLength: 256 }),
  /** Its result-signing keys, as GET /v1/trust shows them: fetched once over a trusted channel, and pinned. */
  jwks: Exact({
    keys: Type.Array(Type.Record(Type.String(), Type.Unknown()), { minItems: 1, maxItems: 16 }),
  }),
  /** The log that an image signature must stand in. */
  log: Exact({
    origin: Type.String({ minLength: 1, maxLength: 256 }),
    /** SPKI, DER. */
    publicKey: Base64(256),
  }),
  /** Attesters whose builds are accepted. */
  builders: Type.Array(AttesterId, { minItems: 1, maxItems: 1024 }),
  /** Tiers of build environment that are accepted. */
  tiers: Type.Array(Tier, { minItems: 1, maxItems: 3 }),
  /** Longest time since the signature was logged. */
  maxAgeSeconds: Type.Optional(Type.Integer({ minimum: 1 })),
  /** `os/architecture` that an image must be for. */
  platform: Type.Optional(Type.String({ pattern: '^[a-z0-9]+/[a-z0-9]+$' })),
});
export type ImagePolicy = Static<typeof ImagePolicy>;

/** The policy of a document; `IMAGE_POLICY_INVALID` says where it is wrong. */
export function parseImagePolicy(document: unknown): ImagePolicy {
  return decodeShape(ImagePolicy, document, 'IMAGE_POLICY_INVALID', 'The image policy');
}

const logs = new WeakMap<ImagePolicy, TrustedLog>();

/** The policy's log, ready to verify with. Made once for each policy: importing a key costs as much as using it. */
export function logOf(policy: ImagePolicy): TrustedLog {
  let log = logs.get(policy);
  if (log === undefined) {
    log = trustedLog(fromBase64(policy.log.publicKey), policy.log.origin);
    logs.set(policy, log);
  }
  return log;
}
