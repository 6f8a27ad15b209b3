export {
  borrowConcat,
  borrowRoom,
  borrowUtf8,
  concat,
  equalBytes,
  fromUtf8,
  sameBytes,
  sha256,
  sha256OfText,
  utf8,
} from './bytes.ts';
export { type HoldsEcdsa, holdsEcdsa } from './ecdsa.ts';
export { type CodecCode, KallioError, type Refusal, type RefusalDetail, refusal } from './error.ts';
export { canonicalBytes, canonicalDigest, canonicalize } from './jcs.ts';
export { type JsonLimits, parseJson } from './json.ts';
export type { Json } from './json-strict.ts';
export { printable } from './printable.ts';
export { Reader } from './reader.ts';
export { sameJson } from './same-json.ts';
export { Base64, DigestSchema, Exact, Hex } from './schemas.ts';
export { decodeShape, readShape } from './shape.ts';
export {
  borrowBase64,
  borrowBase64Url,
  type Digest,
  digestOf,
  digestOfText,
  fromBase64,
  fromBase64Url,
  fromHex,
  isDigest,
  parseDigest,
  toBase64,
  toBase64Url,
  toHex,
} from './text.ts';
export { Writer } from './writer.ts';
