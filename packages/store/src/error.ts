/** Codes of this package. */
export type StoreCode = 'STORE_TOO_NEW' | 'STORE_CORRUPT';
