import { createHash } from 'node:crypto';
import { Writer } from '@kallio/codec';
import { type HashName, hashBytes } from '../structures/algorithms.ts';
import { type PcrSelection, writePcrSelections } from '../structures/pcr-selection.ts';

const CC_POLICY_SECRET = 0x151;
const CC_POLICY_AUTHORIZE = 0x16a;
const CC_POLICY_AUTH_VALUE = 0x16b;
const CC_POLICY_COMMAND_CODE = 0x16c;
const CC_POLICY_OR = 0x171;
const CC_POLICY_PCR = 0x17f;

const NONE = new Uint8Array(0);

/** The digest of a policy, computed as a TPM does (Part 1 section 19.7, Part 3 section 23); each step gives a new one. */
export class PolicyCalculator {
  readonly hash: HashName;
  readonly digest: Uint8Array;

  constructor(hash: HashName, digest: Uint8Array = new Uint8Array(hashBytes(hash))) {
    this.hash = hash;
    this.digest = digest;
  }

  /** TPM2_PolicyPCR: `pcrDigest` is the hash of the selected PCRs' values, ascending. */
  pcr(selections: readonly PcrSelection[], pcrDigest: Uint8Array): PolicyCalculator {
    return this.#extend(CC_POLICY_PCR, writePcrSelections(new Writer(), selections).finish(), pcrDigest);
  }

  /** TPM2_PolicyCommandCode. */
  commandCode(code: number): PolicyCalculator {
    return this.#extend(CC_POLICY_COMMAND_CODE, new Writer(4).u32(code).finish());
  }

  /** TPM2_PolicyAuthValue. */
  authValue(): PolicyCalculator {
    return this.#extend(CC_POLICY_AUTH_VALUE);
  }

  /** TPM2_PolicySecret: the Name of the entity whose authorization is asked for. */
  secret(entity: Uint8Array, policyRef: Uint8Array = NONE): PolicyCalculator {
    return this.#named(CC_POLICY_SECRET, entity, policyRef);
  }

  /** TPM2_PolicyOR: what went before counts no more; one of the digests must have been reached. */
  or(digests: readonly Uint8Array[]): PolicyCalculator {
    return new PolicyCalculator(this.hash).#extend(CC_POLICY_OR, ...digests);
  }

  /** TPM2_PolicyAuthorize: what went before counts no more; `signer` must have approved it. */
  authorize(signer: Uint8Array, policyRef: Uint8Array = NONE): PolicyCalculator {
    return new PolicyCalculator(this.hash).#named(CC_POLICY_AUTHORIZE, signer, policyRef);
  }

  /** PolicyUpdate (Part 3 section 23.2.3): the Name, then the reference even where it is empty. */
  #named(code: number, name: Uint8Array, policyRef: Uint8Array): PolicyCalculator {
    const named = this.#extend(code, name);
    return new PolicyCalculator(
      this.hash,
      new Uint8Array(createHash(this.hash).update(named.digest).update(policyRef).digest()),
    );
  }

  #extend(code: number, ...parts: readonly Uint8Array[]): PolicyCalculator {
    const hash = createHash(this.hash).update(this.digest).update(new Writer(4).u32(code).finish());
    for (const part of parts) hash.update(part);
    return new PolicyCalculator(this.hash, new Uint8Array(hash.digest()));
  }
}
