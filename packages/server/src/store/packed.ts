import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';

/** Bytes that are kept as they are: to compress so few takes longer than to write them. */
const SMALL = 16 * 1024;
/** What every Zstandard frame begins with (RFC 8878, section 3.1.1), and no JSON text. */
const MAGIC = Buffer.of(0x28, 0xb5, 0x2f, 0xfd);

/** JSON text as it is stored: compressed, if it is large. */
export function packed(json: Uint8Array): Uint8Array {
  return json.length < SMALL ? json : zstdCompressSync(json);
}

/** JSON text as it was. */
export function unpacked(stored: Uint8Array): Uint8Array {
  const isFrame = MAGIC.equals(stored.subarray(0, MAGIC.length));
  return isFrame ? new Uint8Array(zstdDecompressSync(stored)) : stored;
}
