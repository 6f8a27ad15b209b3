import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import type { TpmtSignature } from '../structures/signature.ts';

/** An ECDSA signature as DER: SEQUENCE { r INTEGER, s INTEGER } (RFC 3279 section 2.2.3). */
export function ecdsaDer(signature: TpmtSignature): Uint8Array {
  if (signature.scheme !== 'ecdsa') {
    throw new KallioError<TpmCode>('TPM_SIGNATURE_SCHEME', 'This is not an ECDSA signature.');
  }
  const r = significantFrom(signature.r);
  const s = significantFrom(signature.s);
  const rBytes = integerBytes(signature.r, r);
  const sBytes = integerBytes(signature.s, s);
  const length = 2 + rBytes + 2 + sBytes;
  // Longest body here is two 67-byte integers: the length always fits one or two octets.
  const long = length < 0x80 ? 0 : 1;
  const der = new Uint8Array(2 + long + length);
  der[0] = 0x30;
  if (long === 1) der[1] = 0x81;
  der[1 + long] = length;
  writeInteger(der, 2 + long, signature.r, r, rBytes);
  writeInteger(der, 2 + long + 2 + rBytes, signature.s, s, sBytes);
  return der;
}

/** Where a number begins, behind its leading zeros. */
function significantFrom(bytes: Uint8Array): number {
  let first = 0;
  while (first < bytes.length && bytes[first] === 0) first++;
  // Attack: r or s of zero made some verifiers accept any message (CVE-2022-21449).
  if (first === bytes.length)
    throw new KallioError<TpmCode>('TPM_SIGNATURE_INVALID', 'A signature with r or s of zero is none.');
  return first;
}

/** One more than the number has, where its first bit would make it negative. */
function integerBytes(bytes: Uint8Array, first: number): number {
  return bytes.length - first + ((bytes[first] ?? 0) >> 7);
}

function writeInteger(der: Uint8Array, at: number, bytes: Uint8Array, first: number, length: number): void {
  der[at] = 0x02;
  der[at + 1] = length;
  // From the end: what is left of the length is the zero that keeps the number positive.
  const end = at + 2 + length;
  for (let i = bytes.length - 1; i >= first; i--) der[end - bytes.length + i] = bytes[i] ?? 0;
}
