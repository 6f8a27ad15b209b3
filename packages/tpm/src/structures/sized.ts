import { KallioError, type Reader, type Writer } from '@kallio/codec';
import type { TpmCode } from './error.ts';

/** Reads a TPM2B: a 16-bit size and so many bytes (Part 2, section 10.4). `max` bounds the size. */
export function readSized(reader: Reader, max: number, what: string): Uint8Array {
  return reader.bytes(readSize(reader, max, what), what);
}

/** As {@link readSized}, as an array of its own. */
export function copySized(reader: Reader, max: number, what: string): Uint8Array {
  return reader.copy(readSize(reader, max, what), what);
}

function readSize(reader: Reader, max: number, what: string): number {
  const size = reader.u16(`${what}'s size`);
  if (size > max) {
    throw new KallioError<TpmCode>(
      'TPM_STRUCTURE',
      `${what} says ${size} bytes, but at most ${max} fit it.`,
      {
        pointer: `offset ${reader.offset - 2}`,
      },
    );
  }
  return size;
}

/** Writes a TPM2B. */
export function writeSized(writer: Writer, bytes: Uint8Array): Writer {
  return writer.u16(bytes.length).bytes(bytes);
}
