import { Reader } from '@kallio/codec';
import { asciiText, utf16Text } from './text.ts';

/** TCG_PCClientTaggedEvent (PC Client Platform Firmware Profile 1.06, section 10.2): something an operating system’s loader measured. */
export interface TaggedEvent {
  /** What it is, where the tag is known; the tag in hexadecimal otherwise. */
  readonly tag: string;
  /** What the loader wrote beside it. */
  readonly text?: string;
  readonly data: Uint8Array;
}

/**
 * Tags of Linux (drivers/firmware/efi/libstub/efistub.h) and of systemd (src/fundamental/tpm2-pcr.h). What they measure is
 * not in the log; the text is a constant or a file’s name.
 */
const TAGS: ReadonlyMap<number, string> = new Map([
  [0x8f3b_22ec, 'linux-initrd'],
  [0x8f3b_22ed, 'linux-load-options'],
  [0xf5bc_582a, 'systemd-loader-conf'],
  [0x6c46_f751, 'systemd-devicetree-addon'],
  [0x49df_fe0f, 'systemd-initrd-addon'],
  [0xdac0_8e1a, 'systemd-ucode-addon'],
  [0x13ae_d6db, 'systemd-uki-profile'],
  [0xd5cb_7cbc, 'systemd-smbios-type1'],
  [0xe0d4_7bc8, 'systemd-smbios-type2'],
  [0xc0b3_bd23, 'systemd-smbios-type11'],
]);

/** Reads one tagged event. Errors are `CODEC_…`. */
export function readTaggedEvent(bytes: Uint8Array): TaggedEvent {
  const reader = new Reader(bytes);
  const id = reader.u32le('A tag');
  const data = reader.bytes(reader.u32le('The size of a tagged event'), 'A tagged event');
  reader.end('A tagged event');
  const tag = TAGS.get(id) ?? `0x${id.toString(16).padStart(8, '0')}`;
  const text = utf16Text(data) ?? asciiText(data);
  return text === undefined ? { tag, data } : { tag, text, data };
}
