/** TPMA_OBJECT (Part 2 section 8.3), by name. */
export interface ObjectAttributes {
  readonly fixedTPM: boolean;
  readonly stClear: boolean;
  readonly fixedParent: boolean;
  readonly sensitiveDataOrigin: boolean;
  readonly userWithAuth: boolean;
  readonly adminWithPolicy: boolean;
  readonly noDA: boolean;
  readonly encryptedDuplication: boolean;
  readonly restricted: boolean;
  readonly decrypt: boolean;
  readonly sign: boolean;
}

const BITS = {
  fixedTPM: 1,
  stClear: 2,
  fixedParent: 4,
  sensitiveDataOrigin: 5,
  userWithAuth: 6,
  adminWithPolicy: 7,
  noDA: 10,
  encryptedDuplication: 11,
  restricted: 16,
  decrypt: 17,
  sign: 18,
} as const satisfies Record<keyof ObjectAttributes, number>;

/** The flags of a TPMA_OBJECT, and the bits that have no name here (they count towards the object's Name). */
export function decodeAttributes(word: number): ObjectAttributes {
  const has = (bit: number) => (word & (1 << bit)) !== 0;
  return {
    fixedTPM: has(BITS.fixedTPM),
    stClear: has(BITS.stClear),
    fixedParent: has(BITS.fixedParent),
    sensitiveDataOrigin: has(BITS.sensitiveDataOrigin),
    userWithAuth: has(BITS.userWithAuth),
    adminWithPolicy: has(BITS.adminWithPolicy),
    noDA: has(BITS.noDA),
    encryptedDuplication: has(BITS.encryptedDuplication),
    restricted: has(BITS.restricted),
    decrypt: has(BITS.decrypt),
    sign: has(BITS.sign),
  };
}

/** The word of the attributes that are set. */
export function encodeAttributes(attributes: Partial<ObjectAttributes>): number {
  let word = 0;
  for (const [name, bit] of Object.entries(BITS)) {
    if (attributes[name as keyof ObjectAttributes] === true) word |= 1 << bit;
  }
  return word >>> 0;
}
