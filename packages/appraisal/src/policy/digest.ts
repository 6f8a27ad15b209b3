import { canonicalDigest, type Digest } from '@kallio/codec';
import type { AppraisalPolicy } from './schema.ts';

const digests = new WeakMap<AppraisalPolicy, Digest>();

/** SHA-256 of a policy's JCS, worked out once: what it is known by, whatever its id says. */
export function policyDigest(policy: AppraisalPolicy): Digest {
  let digest = digests.get(policy);
  if (digest === undefined) {
    digest = canonicalDigest(policy);
    digests.set(policy, digest);
  }
  return digest;
}
