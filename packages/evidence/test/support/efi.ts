import { concat, fromHex, sha256, utf8 } from '@kallio/codec';
import { u16le, u32le } from './bytes.ts';
import { type Event, header } from './event-log.ts';

// What UEFI firmware puts into its log, made here without the code that reads it.

export const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
export const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';
export const X509 = 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072';
export const SHA256 = 'c1c41626-504c-4092-aca9-41f936934328';
export const OWNER = '77fa9abd-0359-4d32-bd60-28f4e78f784b';

export const TYPE = {
  separator: 4,
  action: 5,
  tag: 6,
  ipl: 13,
  config: 0x8000_0001,
  boot: 0x8000_0002,
  application: 0x8000_0003,
  gpt: 0x8000_0006,
  blob: 0x8000_0008,
  tables: 0x8000_0009,
  blob2: 0x8000_000a,
  tables2: 0x8000_000b,
  authority: 0x8000_00e0,
} as const;

/** An EFI_GUID from its text. */
export function guid(text: string): Uint8Array {
  const [a = '', b = '', c = '', d = '', e = ''] = text.split('-');
  const reversed = [a, b, c].map((part) => fromHex(part).toReversed());
  return concat(...reversed, fromHex(d), fromHex(e));
}

export function u64le(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

export function wide(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'utf16le'));
}

/** UEFI_VARIABLE_DATA, its lengths true unless others are given. */
export function variable(
  vendor: string,
  name: string,
  data: Uint8Array,
  lengths: { readonly name?: number | bigint; readonly data?: number | bigint } = {},
): Uint8Array {
  const sizes = [u64le(lengths.name ?? name.length), u64le(lengths.data ?? data.length)];
  return concat(guid(vendor), ...sizes, wide(name), data);
}

/** Fields of an EFI_SIGNATURE_LIST that can lie. */
export interface ListSizes {
  readonly list?: number;
  readonly header?: number;
  readonly signature?: number;
}

/** EFI_SIGNATURE_LIST of signatures that have one size, its sizes true unless others are given. */
export function signatureList(
  type: string,
  signatures: readonly Uint8Array[],
  sizes: ListSizes = {},
): Uint8Array {
  const size = 16 + (signatures[0]?.length ?? 0);
  const body = concat(...signatures.map((data) => concat(guid(OWNER), data)));
  const { list = 28 + body.length, header: head = 0, signature = size } = sizes;
  return concat(guid(type), u32le(list), u32le(head), u32le(signature), body);
}

/** A node of a device path. */
export function node(type: number, subtype: number, data: Uint8Array, size = data.length + 4): Uint8Array {
  return concat(Uint8Array.of(type, subtype), u16le(size), data);
}

export const END_NODE = Uint8Array.of(0x7f, 0xff, 4, 0);

/** A device path to a file. */
export function filePath(name: string): Uint8Array {
  return concat(node(4, 4, wide(`${name}\0`)), END_NODE);
}

/** UEFI_IMAGE_LOAD_EVENT. */
export function imageLoad(path: Uint8Array, length: number | bigint = path.length): Uint8Array {
  return concat(u64le(0x1000), u64le(0x2000), u64le(0), u64le(length), path);
}

/** An event whose digest is that of its data, or of what is said to be hashed. */
export interface Measured extends Event {
  readonly hashed?: Uint8Array;
}

/** A SHA-256 log of such events. */
export function measuredLog(events: readonly Measured[]): Uint8Array {
  const list = events.map(({ pcr, type = TYPE.separator, data = new Uint8Array(4), hashed = data }) =>
    concat(
      ...[u32le(pcr), u32le(type), u32le(1), u16le(0x000b), sha256(hashed)],
      ...[u32le(data.length), data],
    ),
  );
  return concat(header(['sha256']), ...list);
}

/** What firmware measures to PCR 7: secure boot on, a key in each database, the separator, one image let pass. */
export function secureBootEvents(): Measured[] {
  const keys = signatureList(X509, [utf8('a certificate')]);
  const forbidden = signatureList(SHA256, [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]);
  const config = (vendor: string, name: string, data: Uint8Array) => ({
    pcr: 7,
    type: TYPE.config,
    data: variable(vendor, name, data),
  });
  return [
    config(GLOBAL, 'SecureBoot', Uint8Array.of(1)),
    config(GLOBAL, 'PK', keys),
    config(GLOBAL, 'KEK', keys),
    config(DATABASE, 'db', keys),
    config(DATABASE, 'dbx', forbidden),
    { pcr: 7, type: TYPE.separator },
    {
      pcr: 7,
      type: TYPE.authority,
      data: variable(DATABASE, 'db', concat(guid(OWNER), utf8('a certificate'))),
    },
  ];
}
