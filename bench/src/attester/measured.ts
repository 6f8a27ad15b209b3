import { createHash } from 'node:crypto';
import { concat, sha256, toHex, utf8, Writer } from '@kallio/codec';

const EV_NO_ACTION = 3;
const EV_SEPARATOR = 4;
const EV_EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001;
const SHA256 = 0x000b;

/** Events before the separators: as many as the logs of servers with a few option ROMs hold. */
const EVENTS = 96;

/** An event of the firmware: its PCR and the digest it was extended with. */
export interface Measured {
  readonly pcr: number;
  readonly digest: Uint8Array;
}

/** A crypto-agile firmware event log with SHA-256 digests, as the kernel gives it. */
export function firmwareLog(): { readonly bytes: Uint8Array; readonly events: readonly Measured[] } {
  const before = Array.from({ length: EVENTS }, (_, index) => {
    const data = utf8(`measurement ${index} of the firmware`);
    return { pcr: index % 8, type: EV_EFI_VARIABLE_DRIVER_CONFIG, data };
  });
  const separators = Array.from({ length: 8 }, (_, pcr) => ({
    pcr,
    type: EV_SEPARATOR,
    data: new Uint8Array(4),
  }));
  const loader = [4, 5, 8, 9].map((pcr) => ({ pcr, type: 0x0d, data: utf8(`boot loader to PCR ${pcr}`) }));
  const all = [...before, ...separators, ...loader].map((event) => ({
    ...event,
    digest: sha256(event.data),
  }));
  return { bytes: concat(logHeader(), ...all.map(agileEvent)), events: all };
}

/** The specification-ID event (PC Client Platform Firmware Profile 1.06, section 10.4.5.1). */
function logHeader(): Uint8Array {
  const data = concat(
    utf8('Spec ID Event03\0'),
    u32(0),
    Uint8Array.of(0, 2, 0, 2),
    u32(1),
    u16(SHA256),
    u16(32),
  );
  const whole = concat(data, Uint8Array.of(0));
  return concat(u32(0), u32(EV_NO_ACTION), new Uint8Array(20), u32(whole.length), whole);
}

function agileEvent(event: Measured & { readonly type: number; readonly data: Uint8Array }): Uint8Array {
  const { pcr, type, digest, data } = event;
  return concat(u32(pcr), u32(type), u32(1), u16(SHA256), digest, u32(data.length), data);
}

/** A binary IMA measurement list of template `ima-ng`, with what it measures. */
export interface ImaList {
  readonly bytes: Uint8Array;
  /** SHA-256 digests of the measured files, hexadecimal, the boot aggregate not among them. */
  readonly files: readonly string[];
  /** What PCR 10 is extended with, in order. */
  readonly extended: readonly Uint8Array[];
}

/** A list of so many entries; the first is the aggregate of PCRs 0-9. */
export function imaList(entries: number, aggregate: Uint8Array): ImaList {
  const files: string[] = [];
  const extended: Uint8Array[] = [];
  const parts: Uint8Array[] = [];
  for (let index = 0; index < entries; index++) {
    const digest = index === 0 ? aggregate : sha256(utf8(`file ${index}`));
    if (index > 0) files.push(toHex(digest));
    const name =
      index === 0 ? 'boot_aggregate' : `/usr/lib/x86_64-linux-gnu/package-${index}/module-${index}.so`;
    const fields = [concat(utf8('sha256:\0'), digest), utf8(`${name}\0`)];
    const data = concat(...fields.map((field) => concat(u32(field.length), field)));
    extended.push(sha256(data));
    const sha1 = createHash('sha1').update(data).digest();
    parts.push(u32(10), sha1, u32(6), utf8('ima-ng'), u32(data.length), data);
  }
  return { bytes: new Uint8Array(Buffer.concat(parts)), files, extended };
}

function u16(value: number): Uint8Array {
  return new Writer(2).u16(value).finish().reverse();
}

function u32(value: number): Uint8Array {
  return new Writer(4).u32(value).finish().reverse();
}
