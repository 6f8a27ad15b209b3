/** Codes of a reference-set file that can't be read. */
export type ReferenceCode = 'REFERENCE_SET_MALFORMED' | 'REFERENCE_SET_VERSION' | 'REFERENCE_SET_ORDER';
