/** TPM_GENERATED_VALUE begins so; a size field of a TPM2B_ATTEST never does, as no attestation has 65,364 bytes. */
const MAGIC = 0xff54;

/** The TPMS_ATTEST of a file: itself (`tpm2_quote -m`), or out of a TPM2B_ATTEST. Whether it is one is not judged here. */
export function attestOf(bytes: Uint8Array): Uint8Array {
  const size = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  return size !== MAGIC && size === bytes.length - 2 ? bytes.subarray(2) : bytes;
}
