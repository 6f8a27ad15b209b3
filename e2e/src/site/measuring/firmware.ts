import { concat, sha256, toHex, utf8, Writer } from '@kallio/codec';
import { pcrExtend, type Tpm } from '@kallio/tpm';

const EV_NO_ACTION = 0x3;
const EV_SEPARATOR = 0x4;
const EV_EVENT_TAG = 0x6;
const EV_S_CRTM_VERSION = 0x8;
const EV_EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001;
const EV_EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003;
const SHA256 = 0x000b;

/** EFI_GLOBAL_VARIABLE and EFI_IMAGE_SECURITY_DATABASE_GUID, as they lie in memory. */
const GLOBAL = Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex');
const SECURITY = Buffer.from('cbb219d73a3d9645a3bcdad00e67656f', 'hex');
/** EFI_CERT_SHA256_GUID. */
const CERT_SHA256 = Buffer.from('2616c4c14c509240aca941f936934328', 'hex');
/** Tags that the kernel's EFI stub gives its events. */
const TAG_LOAD_OPTIONS = 0x8f3b_22ed;
const TAG_INITRD = 0x8f3b_22ec;

/** What a machine starts with. */
export interface Boot {
  /** Stands for the kernel's image. */
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
}

interface Measured {
  readonly pcr: number;
  readonly type: number;
  readonly data: Uint8Array;
  /** SHA-256 of what is measured; of `data` where that is left out. */
  readonly digest?: Uint8Array;
}

/**
 * Firmware and boot loader of a machine that has none: measures a boot into a TPM, as OVMF and the kernel's EFI stub
 * do (TCG PC Client Platform Firmware Profile 1.06, section 10.4), and answers with the event log.
 */
export async function measureBoot(tpm: Tpm, boot: Boot): Promise<Uint8Array> {
  const events = eventsOf(boot);
  for (const event of events) await pcrExtend(tpm, event.pcr, [['sha256', digestOf(event)]]);
  return concat(specificationId(), ...events.map(eventBytes));
}

function eventsOf({ kernel, initrd, commandLine }: Boot): Measured[] {
  const separators = [0, 1, 2, 3, 4, 5, 6].map((pcr) => ({
    pcr,
    type: EV_SEPARATOR,
    data: new Uint8Array(4),
  }));
  const loadOptions = concat(utf16(commandLine), new Uint8Array(2));
  return [
    { pcr: 0, type: EV_S_CRTM_VERSION, data: utf16('1.0\0') },
    variable(GLOBAL, 'SecureBoot', Uint8Array.of(1)),
    variable(GLOBAL, 'PK', signatureList('the platform’s key')),
    variable(GLOBAL, 'KEK', signatureList('a key exchange key')),
    variable(SECURITY, 'db', signatureList('what may start')),
    variable(SECURITY, 'dbx', signatureList('what may not')),
    { pcr: 7, type: EV_SEPARATOR, data: new Uint8Array(4) },
    {
      pcr: 4,
      type: EV_EFI_BOOT_SERVICES_APPLICATION,
      data: new Uint8Array(32),
      digest: sha256(utf8(kernel)),
    },
    ...separators,
    {
      pcr: 9,
      type: EV_EVENT_TAG,
      data: tag(TAG_LOAD_OPTIONS, 'LOADED_IMAGE::LoadOptions\0'),
      digest: sha256(loadOptions),
    },
    { pcr: 9, type: EV_EVENT_TAG, data: tag(TAG_INITRD, 'Linux initrd\0'), digest: sha256(utf8(initrd)) },
  ];
}

/** UEFI_VARIABLE_DATA (section 10.2.6). */
function variable(guid: Uint8Array, name: string, value: Uint8Array): Measured {
  const head = concat(guid, u64le(name.length), u64le(value.length));
  return { pcr: 7, type: EV_EFI_VARIABLE_DRIVER_CONFIG, data: concat(head, utf16(name), value) };
}

/** An EFI_SIGNATURE_LIST of one SHA-256 digest, that of a text (UEFI 2.10, section 32.4.1). */
function signatureList(text: string): Uint8Array {
  const owner = new Uint8Array(16);
  const signature = concat(owner, sha256(utf8(text)));
  const head = concat(CERT_SHA256, u32le(28 + signature.length), u32le(0), u32le(signature.length));
  return concat(head, signature);
}

/** TCG_PCClientTaggedEvent (section 10.2.7). */
function tag(id: number, text: string): Uint8Array {
  return concat(u32le(id), u32le(text.length), utf8(text));
}

/** TCG_EfiSpecIDEvent of a log with SHA-256 alone (section 10.4.5.1), in the form of a TCG_PCR_EVENT. */
function specificationId(): Uint8Array {
  const data = concat(
    utf8('Spec ID Event03\0'),
    u32le(0),
    Uint8Array.of(0, 2, 0, 2),
    u32le(1),
    u16le(SHA256),
    u16le(32),
    Uint8Array.of(0),
  );
  return concat(u32le(0), u32le(EV_NO_ACTION), new Uint8Array(20), u32le(data.length), data);
}

/** TCG_PCR_EVENT2 (section 10.2.2). */
function eventBytes(event: Measured): Uint8Array {
  const { pcr, type, data } = event;
  return concat(u32le(pcr), u32le(type), u32le(1), u16le(SHA256), digestOf(event), u32le(data.length), data);
}

function digestOf({ data, digest }: Measured): Uint8Array {
  return digest ?? sha256(data);
}

function utf16(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'utf16le'));
}

function u16le(value: number): Uint8Array {
  return new Writer(2).u16(value).finish().reverse();
}

function u32le(value: number): Uint8Array {
  return new Writer(4).u32(value).finish().reverse();
}

function u64le(value: number): Uint8Array {
  return new Writer(8).u64(BigInt(value)).finish().reverse();
}

/** SHA-256 of what stands for a kernel's image, hexadecimal: what a policy knows it by. */
export function kernelDigest(kernel: string): string {
  return toHex(sha256(utf8(kernel)));
}
