import { createPublicKey } from 'node:crypto';
import { type Appraisal, issueEar, type SessionClaims } from '@kallio/appraisal';
import { digestOf, utf8 } from '@kallio/codec';
import type { ImagePolicy } from '../../src/index.ts';
import type { TestKey } from './honest.ts';

export const ISSUER = 'https://kallio.example';
const KEY_ID = 'result-key-1';

/** The public half of a result-signing key, as a server publishes it. */
export function issuerJwks(key: TestKey): ImagePolicy['jwks'] {
  const { kty, crv, x, y } = createPublicKey(key.privateKey).export({ format: 'jwk' });
  return { keys: [{ kty, crv, x, y, kid: KEY_ID, alg: 'ES256', use: 'sig' }] };
}

/** A build host that its verifier found to be in order, in the boot and of the tier that the session says. */
function verified({ tier, boot }: Pick<SessionClaims, 'tier' | 'boot'>): Appraisal {
  return {
    authentic: true,
    platform: { state: 'VERIFIED', tier, refusals: [], limits: [] },
    instances: new Map(),
    next: undefined,
    boot: { clock: 1n, resetCount: boot, restartCount: 0, safe: true, firmwareVersion: 1n },
    evidence: utf8('closing evidence'),
    evidenceDigest: digestOf(utf8('closing evidence')),
    appraisedAt: new Date(),
  };
}

function issue(key: TestKey, issuedAt: Date, of: Pick<SessionClaims, 'builder' | 'tier' | 'boot'>) {
  return {
    issuer: ISSUER,
    attester: of.builder,
    appraisal: verified(of),
    policyId: 'build-hosts',
    issuedAt,
    ttlSeconds: 600,
    key: key.privateKey,
    keyId: KEY_ID,
  };
}

/** The result of a closed build session. */
export function issueSessionEar(key: TestKey, issuedAt: Date, session: SessionClaims): string {
  return issueEar({ ...issue(key, issuedAt, session), session });
}

/** An everyday result: of a machine, not of a session. */
export function issuePlainEar(key: TestKey): string {
  return issueEar(issue(key, new Date(), { builder: 'build-1', tier: 'C', boot: 7 }));
}
