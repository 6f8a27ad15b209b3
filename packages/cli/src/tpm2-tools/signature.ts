import { type CodecCode, KallioError, Reader } from '@kallio/codec';
import {
  marshalSignature,
  parseSignature,
  type TpmtPublic,
  type TpmtSignature,
  verifySignature,
} from '@kallio/tpm/structures';

/**
 * The signature of a file as TPMT_SIGNATURE: that itself (`tpm2_quote -s`), or out of what `-f plain` writes (RSA: the
 * number; ECDSA: DER). A plain signature does not say its scheme: it is the key’s, and where the key names none (PEM),
 * the one by which it verifies. Bytes of no such form are given back as they are: to be refused like on the server.
 */
export function signatureOf(bytes: Uint8Array, key: TpmtPublic, message: Uint8Array): Uint8Array {
  if (attempt(() => parseSignature(bytes)) !== undefined) return bytes;
  const forms = plainForms(bytes, key);
  const form = forms.find((one) => attempt(() => verifySignature(key, message, one) ?? true)) ?? forms[0];
  return form === undefined ? bytes : marshalSignature(form);
}

function plainForms(bytes: Uint8Array, key: TpmtPublic): TpmtSignature[] {
  if (key.type === 'keyedhash') return [];
  const { scheme } = key;
  const hashes = scheme.scheme === 'null' ? (['sha256', 'sha384'] as const) : [scheme.hash];
  if (key.type === 'ecc') {
    const numbers = attempt(() => readDer(bytes));
    return numbers === undefined ? [] : hashes.map((hash) => ({ scheme: 'ecdsa', hash, ...numbers }));
  }
  if (bytes.length !== key.modulus.length) return [];
  const schemes = (['rsassa', 'rsapss'] as const).filter(
    (one) => scheme.scheme === 'null' || scheme.scheme === one,
  );
  return schemes.flatMap((one) => hashes.map((hash) => ({ scheme: one, hash, signature: bytes })));
}

/** SEQUENCE { r INTEGER, s INTEGER }, in the one way DER writes it (X.690 sections 8.3, 10.1). */
function readDer(bytes: Uint8Array): { readonly r: Uint8Array; readonly s: Uint8Array } | undefined {
  const outer = new Reader(bytes);
  const body = new Reader(readTagged(outer, 0x30));
  outer.end('A signature');
  const r = readInteger(body);
  const s = readInteger(body);
  body.end('A signature');
  return r === undefined || s === undefined ? undefined : { r, s };
}

function readInteger(reader: Reader): Uint8Array | undefined {
  const bytes = readTagged(reader, 0x02);
  const [first = 0x80, second = 0] = bytes;
  const padded = first === 0 && bytes.length > 1;
  if (first >= 0x80 || (padded && second < 0x80) || bytes.length > 67) return undefined;
  return padded ? bytes.subarray(1) : bytes;
}

function readTagged(reader: Reader, tag: number): Uint8Array {
  const found = reader.u8('A tag');
  const short = reader.u8('A length');
  const length = short === 0x81 ? reader.u8('A length') : short;
  const minimal = short < 0x80 || (short === 0x81 && length >= 0x80);
  if (found !== tag || !minimal) throw new KallioError<CodecCode>('CODEC_RANGE', 'This is not DER.');
  return reader.bytes(length, 'A value');
}

/** What `what` gives, or `undefined` where it refuses. */
function attempt<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return undefined;
  }
}
