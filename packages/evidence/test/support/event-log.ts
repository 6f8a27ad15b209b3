import { concat, utf8 } from '@kallio/codec';
import { type HashName, hashBytes, hashId } from '@kallio/tpm/structures';
import { u16le, u32le } from './bytes.ts';

// Event logs as firmware writes them, so that each flaw can stand next to its honest twin.

export const EV_NO_ACTION = 3;
const EV_SEPARATOR = 4;
export const EV_S_CRTM_VERSION = 8;

/** A digest algorithm in the header of a log: a bank by its name, or any number with any size. */
export type Algorithm = HashName | readonly [id: number, size: number];

export interface Event {
  readonly pcr: number;
  readonly type?: number;
  readonly data?: Uint8Array;
}

/** TCG_PCR_EVENT, with 20 bytes of digest. */
export function sha1Event(
  { pcr, type = EV_SEPARATOR, data = new Uint8Array() }: Event,
  digest = 0,
): Uint8Array {
  return concat(u32le(pcr), u32le(type), new Uint8Array(20).fill(digest), u32le(data.length), data);
}

/** The first event of a crypto-agile log. */
export function header(algorithms: readonly Algorithm[], change: Partial<HeaderFields> = {}): Uint8Array {
  const { signature = 'Spec ID Event03\0', count = algorithms.length, vendor = Uint8Array.of(0) } = change;
  const data = concat(
    utf8(signature),
    u32le(0),
    Uint8Array.of(0, 2, 0, 2),
    u32le(count),
    ...algorithms.map((algorithm) => {
      const [id, size] = idAndSize(algorithm);
      return concat(u16le(id), u16le(size));
    }),
    vendor,
  );
  return sha1Event({ pcr: 0, type: EV_NO_ACTION, data });
}

export interface HeaderFields {
  readonly signature: string;
  readonly count: number;
  /** The size of the vendor's information, and the information. */
  readonly vendor: Uint8Array;
}

/** TCG_PCR_EVENT2, its digests in the order given: each is so many bytes of one value. */
export function agileEvent(
  { pcr, type = EV_SEPARATOR, data = new Uint8Array() }: Event,
  digests: readonly (readonly [Algorithm, number])[],
  count = digests.length,
): Uint8Array {
  const list = digests.map(([algorithm, value]) => {
    const [id, size] = idAndSize(algorithm);
    return concat(u16le(id), new Uint8Array(size).fill(value));
  });
  return concat(u32le(pcr), u32le(type), u32le(count), ...list, u32le(data.length), data);
}

/** The data of a StartupLocality event. */
export function locality(...values: number[]): Uint8Array {
  return concat(utf8('StartupLocality\0'), Uint8Array.from(values));
}

function idAndSize(algorithm: Algorithm): readonly [number, number] {
  return typeof algorithm === 'string' ? [hashId(algorithm), hashBytes(algorithm)] : algorithm;
}

/** Where an event of a log with one SHA-256 digest an event stands, and its fields. */
export interface Slice {
  readonly start: number;
  readonly end: number;
  readonly pcr: number;
  /** Where its digest begins. */
  readonly digest: number;
  /** Where its data begins. */
  readonly data: number;
}

/** Takes a SHA-256 log apart, the header being first. Trusts the log: it is for our own fixtures alone. */
export function slices(log: Uint8Array): Slice[] {
  const view = new DataView(log.buffer, log.byteOffset, log.length);
  const first = { start: 0, end: 32 + view.getUint32(28, true), pcr: 0, digest: 8, data: 32 };
  const found: Slice[] = [first];
  for (let start = first.end; start < log.length; ) {
    const digest = start + 14;
    const data = digest + 36;
    const end = data + view.getUint32(data - 4, true);
    found.push({ start, end, pcr: view.getUint32(start, true), digest, data });
    start = end;
  }
  return found;
}
