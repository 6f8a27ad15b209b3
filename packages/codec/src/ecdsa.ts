import { type KeyObject, verify } from 'node:crypto';

/**
 * Whether a key made a signature of a message: ECDSA over SHA-256, in DER. What verifies documents takes one of these, so
 * that whoever asks may have the arithmetic done at another time.
 */
export type HoldsEcdsa = (key: KeyObject, message: Uint8Array, der: Uint8Array) => boolean;

/** {@link HoldsEcdsa}, here and now. */
export const holdsEcdsa: HoldsEcdsa = (key, message, der) => verify('sha256', message, key, der);
