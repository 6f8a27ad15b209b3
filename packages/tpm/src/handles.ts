/** Permanent handles (Part 2 section 7.4). */
export const HANDLE = {
  owner: 0x4000_0001,
  null: 0x4000_0007,
  lockout: 0x4000_000a,
  endorsement: 0x4000_000b,
  platform: 0x4000_000c,
} as const;
