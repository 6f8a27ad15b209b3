import { equalBytes, Reader, utf8 } from '@kallio/codec';
import { readGuid } from './guid.ts';

/** What an EV_NO_ACTION event says (PC Client Platform Firmware Profile 1.06, section 10.4.5). Nothing of it is measured. */
export type Note =
  | {
      readonly note: 'specification';
      readonly version: string;
      readonly platformClass: number;
    }
  | { readonly note: 'startup-locality'; readonly locality: number }
  | { readonly note: 'reference-manifest'; readonly vendor: number; readonly manifest: string }
  | { readonly note: 'h-crtm' }
  | { readonly note: 'unknown' };

const SIGNATURE_BYTES = 16;

/** Decodes the data of an EV_NO_ACTION event by the 16 bytes it begins with. Errors are `CODEC_…`. */
export function readNote(bytes: Uint8Array): Note {
  if (bytes.length < SIGNATURE_BYTES) return { note: 'unknown' };
  const reader = new Reader(bytes);
  const signature = reader.bytes(SIGNATURE_BYTES);
  if (
    is(signature, 'Spec ID Event03\0') ||
    is(signature, 'Spec ID Event02\0') ||
    is(signature, 'Spec ID Event00\0')
  ) {
    const platformClass = reader.u32le('The platform class');
    const minor = reader.u8();
    const major = reader.u8();
    return { note: 'specification', version: `${major}.${minor} errata ${reader.u8()}`, platformClass };
  }
  if (is(signature, 'StartupLocality\0'))
    return { note: 'startup-locality', locality: reader.u8('The locality') };
  if (is(signature, 'SP800-155 Event\0')) {
    const vendor = reader.u32le('The vendor');
    return { note: 'reference-manifest', vendor, manifest: readGuid(reader) };
  }
  return is(signature, 'H-CRTM CompMeas\0') ? { note: 'h-crtm' } : { note: 'unknown' };
}

function is(bytes: Uint8Array, text: string): boolean {
  return equalBytes(bytes, utf8(text));
}
