import { Type } from 'typebox';

/** The pattern of base64. */
export const BASE64 = '^[A-Za-z0-9+/]*={0,2}$';

/** Canonical base64 of at most `maxBytes` bytes. The bytes themselves are checked where they are decoded. */
export function Base64(maxBytes: number) {
  return Type.String({ maxLength: Math.ceil(maxBytes / 3) * 4, pattern: BASE64 });
}

/** Lower-case hexadecimal of exactly `bytes` bytes. */
export function Hex(bytes: number) {
  return Type.String({ pattern: `^[0-9a-f]{${bytes * 2}}$` });
}

/** A SHA-256 digest as OCI writes it. */
export const DigestSchema = Type.String({ pattern: '^sha256:[0-9a-f]{64}$' });

/** An object whose every field is named here; an unknown one is refused. */
export function Exact<P extends Parameters<typeof Type.Object>[0]>(properties: P) {
  return Type.Object(properties, { additionalProperties: false });
}
