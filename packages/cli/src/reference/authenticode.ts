import { createHash } from 'node:crypto';
import { KallioError, Reader } from '@kallio/codec';
import { cliError } from '../output/output.ts';

const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
const CHECKSUM_AT = 64;
const HEADERS_SIZE_AT = 60;
const CERTIFICATES = 4;
const SECTION_BYTES = 40;
const MAX_SECTIONS = 96;

/**
 * The SHA-256 that firmware measures of an EFI image (PCR 4) and that its signature is of: everything but the checksum,
 * the place of the signatures and the signatures (Windows Authenticode Portable Executable Signature Format, "Calculating
 * the PE Image Hash"; EDK II, DxeTpm2MeasureBootLib). `CLI_EFI_IMAGE` for a file that is none.
 */
export function authenticodeDigest(bytes: Uint8Array): string {
  const image = layoutOf(bytes);
  const hash = createHash('sha256');
  const take = (from: number, to: number) => {
    if (from > to || to > bytes.length) throw notEfi('its parts do not fit it');
    hash.update(bytes.subarray(from, to));
  };
  const { checksum, certificates, headers } = image;
  take(0, checksum);
  if (certificates === undefined) take(checksum + 4, headers);
  else {
    take(checksum + 4, certificates.at);
    take(certificates.at + 8, headers);
  }
  let hashed = headers;
  for (const { from, size } of image.sections) {
    take(from, from + size);
    hashed += size;
  }
  // What follows the sections counts, the signatures do not: they stand at the end.
  const end = bytes.length - (certificates?.size ?? 0);
  if (end > hashed) take(hashed, end);
  return hash.digest('hex');
}

interface Layout {
  readonly checksum: number;
  /** The directory entry of the signatures, and how long they are; absent where the image has no such entry. */
  readonly certificates?: { readonly at: number; readonly size: number };
  /** SizeOfHeaders. */
  readonly headers: number;
  /** In the order in which they lie in the file. */
  readonly sections: readonly { readonly from: number; readonly size: number }[];
}

function layoutOf(bytes: Uint8Array): Layout {
  try {
    return readLayout(bytes);
  } catch (cause) {
    if (!(cause instanceof KallioError) || cause.code === 'CLI_EFI_IMAGE') throw cause;
    throw notEfi('it ends too soon');
  }
}

/** PE Format, "MS-DOS Stub", "COFF File Header", "Optional Header", "Section Table". */
function readLayout(bytes: Uint8Array): Layout {
  const dos = new Reader(bytes.subarray(0, 64));
  if (dos.u16('A magic number') !== 0x4d5a) throw notEfi('it has no MZ header');
  dos.bytes(58);
  const start = dos.u32le('The place of the PE header');
  const coff = new Reader(bytes.subarray(start, start + 24));
  if (coff.u32('A signature') !== 0x5045_0000) throw notEfi('it has no PE header');
  coff.bytes(2);
  const sectionCount = coff.u16le('The number of sections');
  coff.bytes(12);
  const optionalSize = coff.u16le('The size of the optional header');
  const optional = start + 24;
  const at = (offset: number, size: number) =>
    new Reader(bytes.subarray(optional + offset, optional + offset + size));
  const magic = at(0, 2).u16le('The kind of image');
  if (magic !== PE32 && magic !== PE32_PLUS) throw notEfi('it is neither PE32 nor PE32+');
  const directories = magic === PE32 ? 92 : 108;
  const directoryCount = at(directories, 4).u32le('The number of directories');
  const headers = at(HEADERS_SIZE_AT, 4).u32le('The size of the headers');
  const entry = directories + 4 + CERTIFICATES * 8;
  const hasEntry = directoryCount > CERTIFICATES && optionalSize >= entry + 8;
  if (sectionCount > MAX_SECTIONS) throw notEfi(`it has ${sectionCount} sections`);
  const table = optional + optionalSize;
  const sections = Array.from({ length: sectionCount }, (_, i) => {
    const section = new Reader(bytes.subarray(table + i * SECTION_BYTES, table + (i + 1) * SECTION_BYTES));
    section.bytes(16);
    const size = section.u32le('The size of a section');
    return { from: section.u32le('The place of a section'), size };
  });
  return {
    checksum: optional + CHECKSUM_AT,
    ...(hasEntry
      ? { certificates: { at: optional + entry, size: at(entry + 4, 4).u32le('The size of the signatures') } }
      : {}),
    headers,
    sections: sections.filter(({ size }) => size > 0).sort((a, b) => a.from - b.from),
  };
}

function notEfi(why: string) {
  return cliError('CLI_EFI_IMAGE', `This is no EFI image that firmware would start: ${why}.`);
}
