import { concat, KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import type { TpmtSignature } from '../structures/signature.ts';

/** An ECDSA signature as DER: SEQUENCE { r INTEGER, s INTEGER } (RFC 3279 section 2.2.3). */
export function ecdsaDer(signature: TpmtSignature): Uint8Array {
  if (signature.scheme !== 'ecdsa') {
    throw new KallioError<TpmCode>('TPM_SIGNATURE_SCHEME', 'This is not an ECDSA signature.');
  }
  const body = concat(integer(signature.r), integer(signature.s));
  // Longest body here is two 67-byte integers: the length always fits one or two octets.
  const length = body.length < 0x80 ? [body.length] : [0x81, body.length];
  return concat(new Uint8Array([0x30, ...length]), body);
}

function integer(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  // Attack: r or s of zero made some verifiers accept any message (CVE-2022-21449).
  if (first === -1)
    throw new KallioError<TpmCode>('TPM_SIGNATURE_INVALID', 'A signature with r or s of zero is none.');
  const significant = bytes.subarray(first);
  const sign = (significant[0] ?? 0) & 0x80 ? [0] : [];
  return concat(new Uint8Array([0x02, significant.length + sign.length, ...sign]), significant);
}
