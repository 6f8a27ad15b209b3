import { hash } from 'node:crypto';
import { type HashName, hashBytes } from '@kallio/tpm/structures';

/** The PCR of the instance log. Resets only with the machine; 16 and 23 reset from locality 0 and would be useless. */
export const INSTANCE_PCR = 14;

/** The PCR that Linux IMA extends. */
export const IMA_PCR = 10;

/** What a quote covers by default: every PCR that only a reboot resets. */
export const QUOTED_PCRS: readonly number[] = Array.from({ length: 16 }, (_, pcr) => pcr);

/** A PCR of a bank after reset: all zeros (PCRs 0-16 and 23; TCG PC Client Platform TPM Profile, section 4.6). */
export function zeroPcr(bank: HashName): Uint8Array {
  return new Uint8Array(hashBytes(bank));
}

/** TPM2_PCR_Extend: H(old || digest) (TPM 2.0 Part 1, section 17.2). Both have the length of the bank's digests. */
export function extend(bank: HashName, value: Uint8Array, digest: Uint8Array): Uint8Array {
  const joined = new Uint8Array(value.length + digest.length);
  joined.set(value);
  joined.set(digest, value.length);
  return hash(bank, joined, 'buffer');
}
