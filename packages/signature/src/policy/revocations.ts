import type { SessionClaims } from '@kallio/appraisal';
import { type SignatureCode, signatureError } from '../error.ts';
import type { Claims } from '../statement.ts';
import type { ImagePolicy, Revocation } from './schema.ts';

type Revoked = NonNullable<ImagePolicy['revoked']>;

/** What a signature rests on: each of these can be revoked. */
export interface Rested {
  readonly session: SessionClaims;
  readonly image: Claims['image'];
  /** Seconds since 1970: when the signature was logged. */
  readonly logged: number;
}

/**
 * Refuses what rests on something revoked: `REVOKED_…`. A revocation with a time is of signatures that were logged from
 * then on; what was logged before stays good. The time is the log's, so whoever stole a key can't date back.
 */
export function requireNotRevoked(revoked: Revoked, rested: Rested): void {
  for (const [i, revocation] of revoked.entries()) {
    const code = codeOf(revocation, rested);
    if (code === undefined) continue;
    const { since, reason } = revocation;
    if (since !== undefined && rested.logged * 1000 < Date.parse(since)) continue;
    throw signatureError(code, `${WHAT[code]} is revoked: ${reason}`, {
      pointer: `policy:/revoked/${i}`,
      hint: NEXT[code],
    });
  }
}

type RevokedCode = Extract<SignatureCode, `REVOKED_${string}`>;

function codeOf(revocation: Revocation, { session, image }: Rested): RevokedCode | undefined {
  if ('builder' in revocation) return revocation.builder === session.builder ? 'REVOKED_BUILDER' : undefined;
  if ('signingKey' in revocation)
    return revocation.signingKey === session.signingKey ? 'REVOKED_SIGNING_KEY' : undefined;
  // Of an index, each image that is taken from it is judged by itself.
  if ('image' in revocation) return revocation.image === session.subject ? 'REVOKED_IMAGE' : undefined;
  if ('layer' in revocation) {
    const layers: readonly string[] = 'index' in image ? [] : image.layers;
    return layers.includes(revocation.layer) ? 'REVOKED_LAYER' : undefined;
  }
  if ('statement' in revocation)
    return revocation.statement === session.statement ? 'REVOKED_STATEMENT' : undefined;
  if ('session' in revocation) return revocation.session === session.session ? 'REVOKED_SESSION' : undefined;
  return session.evidence.includes(revocation.evidence) ? 'REVOKED_EVIDENCE' : undefined;
}

const WHAT: Readonly<Record<RevokedCode, string>> = {
  REVOKED_BUILDER: 'The builder',
  REVOKED_SIGNING_KEY: 'The key that signed',
  REVOKED_IMAGE: 'The image',
  REVOKED_LAYER: 'A layer of the image',
  REVOKED_STATEMENT: 'What was signed',
  REVOKED_SESSION: 'The attestation session',
  REVOKED_EVIDENCE: 'Evidence that the session rests on',
};

const NEXT: Readonly<Record<RevokedCode, string>> = {
  REVOKED_BUILDER: 'Build the image again on another build host.',
  REVOKED_SIGNING_KEY:
    'Rotate the build host’s key (kallio agent rotate-signing-key) and build the image again.',
  REVOKED_IMAGE: 'Run a newer image.',
  REVOKED_LAYER: 'Build the image again on a base image without it.',
  REVOKED_STATEMENT: 'Build the image again.',
  REVOKED_SESSION: 'Build the image again.',
  REVOKED_EVIDENCE: 'Build the image again.',
};
