/** Permanent handles (Part 2 section 7.4). */
export const HANDLE = {
  owner: 0x4000_0001,
  null: 0x4000_0007,
  lockout: 0x4000_000a,
  endorsement: 0x4000_000b,
  platform: 0x4000_000c,
} as const;

/** Ranges of NV indices for EK certificates (TCG EK Credential Profile 2.5, sections 2.2.1.4, 2.2.1.5). */
export const EK_NV = {
  rsa2048: 0x01c0_0002,
  eccP256: 0x01c0_000a,
  eccP384: 0x01c0_0016,
  /** Intermediate certificates, as many as there are, from here on. */
  chain: 0x01c0_0100,
  chainEnd: 0x01c0_01ff,
} as const;
