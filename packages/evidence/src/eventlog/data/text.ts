import type { Reader } from '@kallio/codec';

/** UTF-16LE as firmware writes it; halves of characters become U+FFFD. An odd last byte is left out. */
export function utf16(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length & ~1)
    .toString('utf16le')
    .toWellFormed();
}

/** UTF-16LE up to its closing zero, which is read too. A text without one is `CODEC_TRUNCATED`. */
export function readUtf16Z(reader: Reader, what: string): string {
  const units: number[] = [];
  for (let unit = reader.u16le(what); unit !== 0; unit = reader.u16le(what)) units.push(unit);
  return units
    .map((unit) => String.fromCharCode(unit))
    .join('')
    .toWellFormed();
}

/** Text in one byte a character, without the zeros that may close it. `undefined` where a byte is not printable. */
export function asciiText(bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes).toString('utf8').replace(/\0+$/, '');
  return /^[\t-\r -~\u0080-\ufffc\ufffe-\u{10ffff}]*$/u.test(text) ? text : undefined;
}

/** Text in UTF-16LE, without the zero that may close it. `undefined` where it is no readable text. */
export function utf16Text(bytes: Uint8Array): string | undefined {
  // systemd-boot of old ends its text in the first half of a zero.
  if (bytes.length < 2 || (bytes.length % 2 !== 0 && bytes.at(-1) !== 0)) return undefined;
  const text = utf16(bytes).replace(/\0$/, '');
  // Bytes of ASCII read as UTF-16 become CJK; firmware and boot loaders write Latin.
  return /^[\t\n\r -~\u00a0-\u024f]+$/.test(text) ? text : undefined;
}
