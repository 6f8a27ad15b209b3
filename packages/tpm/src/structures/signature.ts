import { KallioError, Reader, Writer } from '@kallio/codec';
import { ALG, type HashName, hashId, hashName } from './algorithms.ts';
import type { TpmCode } from './error.ts';
import { copySized, writeSized } from './sized.ts';

/** TPMT_SIGNATURE (Part 2 section 11.3.4). */
export type TpmtSignature =
  | { readonly scheme: 'rsassa' | 'rsapss'; readonly hash: HashName; readonly signature: Uint8Array }
  | { readonly scheme: 'ecdsa'; readonly hash: HashName; readonly r: Uint8Array; readonly s: Uint8Array };

/** Parses a TPMT_SIGNATURE; trailing bytes are refused. */
export function parseSignature(bytes: Uint8Array): TpmtSignature {
  const reader = new Reader(bytes);
  const signature = readSignature(reader);
  reader.end('A TPMT_SIGNATURE');
  return signature;
}

/** Reads a TPMT_SIGNATURE. */
export function readSignature(reader: Reader): TpmtSignature {
  const scheme = reader.u16('The scheme of a signature');
  switch (scheme) {
    case ALG.rsassa:
    case ALG.rsapss:
      return {
        scheme: scheme === ALG.rsassa ? 'rsassa' : 'rsapss',
        hash: hashName(reader.u16('The hash of a signature')),
        signature: copySized(reader, 512, 'An RSA signature'),
      };
    case ALG.ecdsa:
      return {
        scheme: 'ecdsa',
        hash: hashName(reader.u16('The hash of a signature')),
        r: copySized(reader, 66, 'r of a signature'),
        s: copySized(reader, 66, 's of a signature'),
      };
    default:
      throw new KallioError<TpmCode>(
        'TPM_SIGNATURE_SCHEME',
        `A signature of scheme 0x${scheme.toString(16)} is not known here.`,
      );
  }
}

/** Writes a TPMT_SIGNATURE. */
export function marshalSignature(signature: TpmtSignature): Uint8Array {
  const writer = new Writer().u16(ALG[signature.scheme]).u16(hashId(signature.hash));
  if (signature.scheme !== 'ecdsa') return writeSized(writer, signature.signature).finish();
  writeSized(writer, signature.r);
  return writeSized(writer, signature.s).finish();
}
