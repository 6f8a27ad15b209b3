import type { Reader } from '@kallio/codec';

/** Reads an EFI_GUID and writes it as people do: its first three numbers are stored lowest byte first (UEFI 2.10, appendix A). */
export function readGuid(reader: Reader, what = 'A GUID'): string {
  const first = hex(reader.u32le(what), 8);
  const second = hex(reader.u16le(what), 4);
  const third = hex(reader.u16le(what), 4);
  const rest = Array.from(reader.bytes(8, what), (byte) => hex(byte, 2)).join('');
  return `${first}-${second}-${third}-${rest.slice(0, 4)}-${rest.slice(4)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** EFI_GLOBAL_VARIABLE: SecureBoot, PK, KEK, BootOrder (UEFI 2.10, section 3.3). */
export const GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c';

/** EFI_IMAGE_SECURITY_DATABASE_GUID: db, dbx, dbt, dbr (UEFI 2.10, section 32.4.1). */
export const IMAGE_SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';
