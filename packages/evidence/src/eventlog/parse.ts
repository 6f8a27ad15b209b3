import { equalBytes, KallioError, Reader, utf8 } from '@kallio/codec';
import { type HashName, hashBytes, hashId } from '@kallio/tpm/structures';
import { evidenceError } from '../error.ts';
import type { EventLog, FirmwareEvent, FirmwareNote } from './event.ts';

const EV_NO_ACTION = 3;
const SHA1_BYTES = 20;
const MAX_BYTES = 16 * 1024 * 1024;
const MAX_ALGORITHMS = 16;
const MAX_PCR = 23;

const AGILE_SIGNATURE = utf8('Spec ID Event03\0');
const LOCALITY_SIGNATURE = utf8('StartupLocality\0');

const BANKS: ReadonlyMap<number, HashName> = new Map(
  (['sha1', 'sha256', 'sha384', 'sha512'] as const).map((bank) => [hashId(bank), bank]),
);

/** A digest algorithm of the log, in the order of its header; an unknown one is stepped over by its size. */
interface Algorithm {
  readonly id: number;
  readonly size: number;
}

interface RawEvent {
  readonly pcr: number;
  readonly type: number;
  readonly digests: ReadonlyMap<HashName, Uint8Array>;
  readonly data: Uint8Array;
}

/**
 * Parses a firmware event log as the kernel gives it (`binary_bios_measurements`): TCG PC Client Platform Firmware
 * Profile 1.06, section 10 (crypto-agile), or TCG EFI Protocol 1.22 (SHA-1). Errors are `EVENTLOG_…` with the event's
 * number. Nothing in the result is believable before it is replayed to quoted PCRs.
 */
export function parseEventLog(bytes: Uint8Array): EventLog {
  if (bytes.length > MAX_BYTES) {
    throw evidenceError(
      'EVENTLOG_TOO_LARGE',
      `An event log of ${bytes.length} bytes is larger than any firmware’s.`,
    );
  }
  const reader = new Reader(bytes);
  const algorithms = read(0, () => agileAlgorithms(bytes));
  const log = new LogBuilder();
  for (let index = 0; reader.remaining > 0; index++) {
    // The first event is in the old form in both kinds of log.
    const event = read(index, () =>
      algorithms === undefined || index === 0 ? readSha1Event(reader) : readAgileEvent(reader, algorithms),
    );
    log.add(index, event);
  }
  return {
    format: algorithms === undefined ? 'sha1' : 'crypto-agile',
    banks: algorithms === undefined ? ['sha1'] : algorithms.flatMap(({ id }) => BANKS.get(id) ?? []),
    startupLocality: log.startupLocality,
    events: log.events,
    notes: log.notes,
  };
}

/** Collects the events that were extended, and what the others say. */
class LogBuilder {
  readonly events: FirmwareEvent[] = [];
  readonly notes: FirmwareNote[] = [];
  startupLocality: EventLog['startupLocality'] = 0;
  #localitySeen = false;

  add(index: number, { pcr, type, digests, data }: RawEvent): void {
    if (type === EV_NO_ACTION) {
      if (startsWith(data, LOCALITY_SIGNATURE)) this.#locality(index, data);
      this.notes.push({ index, unauthenticated: { pcr, data } });
      return;
    }
    if (pcr > MAX_PCR) throw malformed(index, `there is no PCR ${pcr}`);
    this.events.push({ index, authenticated: { pcr, digests }, unauthenticated: { type, data } });
  }

  #locality(index: number, data: Uint8Array): void {
    const locality = data[LOCALITY_SIGNATURE.length];
    const late = this.events.some(({ authenticated }) => authenticated.pcr === 0);
    // Stops a second start value from being slipped in where the first would not replay.
    if (
      this.#localitySeen ||
      late ||
      data.length !== LOCALITY_SIGNATURE.length + 1 ||
      (locality !== 0 && locality !== 3 && locality !== 4)
    ) {
      throw evidenceError(
        'EVENTLOG_LOCALITY',
        'The startup locality stands in the log once, before anything is measured to PCR 0, and is 0, 3 or 4.',
        { pointer: `event:${index}` },
      );
    }
    this.#localitySeen = true;
    this.startupLocality = locality;
  }
}

/** The algorithms of a crypto-agile log; `undefined` for a SHA-1 log (PFP section 10.4.5.1). */
function agileAlgorithms(bytes: Uint8Array): Algorithm[] | undefined {
  if (bytes.length === 0) return undefined;
  const header = readSha1Event(new Reader(bytes));
  if (header.type !== EV_NO_ACTION || !startsWith(header.data, AGILE_SIGNATURE)) return undefined;
  const reader = new Reader(header.data);
  reader.bytes(AGILE_SIGNATURE.length);
  reader.u32le('The platform class');
  reader.bytes(4, 'The specification’s version');
  const count = reader.u32le('The number of algorithms');
  if (count === 0 || count > MAX_ALGORITHMS) {
    throw evidenceError(
      'EVENTLOG_ALGORITHM',
      `A log has 1 to ${MAX_ALGORITHMS} digest algorithms, not ${count}.`,
      {
        pointer: 'event:0',
      },
    );
  }
  const algorithms = Array.from({ length: count }, () => {
    const id = reader.u16le('An algorithm');
    const size = reader.u16le('The size of a digest');
    const bank = BANKS.get(id);
    // Stops digests from being read at another place than a reader who knows the algorithm reads them.
    if ((bank !== undefined && size !== hashBytes(bank)) || size === 0 || size > 64) {
      throw evidenceError(
        'EVENTLOG_ALGORITHM',
        `Digests of algorithm 0x${id.toString(16)} can’t have ${size} bytes.`,
        { pointer: 'event:0' },
      );
    }
    return { id, size };
  });
  if (new Set(algorithms.map(({ id }) => id)).size !== count) {
    throw evidenceError('EVENTLOG_ALGORITHM', 'An algorithm stands twice in the log’s header.', {
      pointer: 'event:0',
    });
  }
  reader.bytes(reader.u8('The size of the vendor’s information'), 'The vendor’s information');
  reader.end('The specification-ID event');
  return algorithms;
}

/** TCG_PCR_EVENT. */
function readSha1Event(reader: Reader): RawEvent {
  const pcr = reader.u32le('A PCR index');
  const type = reader.u32le('An event type');
  const digest = reader.bytes(SHA1_BYTES, 'A digest');
  const data = reader.bytes(reader.u32le('The size of an event'), 'An event');
  return { pcr, type, digests: new Map([['sha1', digest]]), data };
}

/** TCG_PCR_EVENT2: a digest for each algorithm of the header, once each, in any order. */
function readAgileEvent(reader: Reader, algorithms: readonly Algorithm[]): RawEvent {
  const pcr = reader.u32le('A PCR index');
  const type = reader.u32le('An event type');
  const count = reader.u32le('The number of digests');
  if (count !== algorithms.length) {
    throw evidenceError(
      'EVENTLOG_ALGORITHM',
      `An event has ${count} digests, but the log has ${algorithms.length}.`,
    );
  }
  const digests = new Map<HashName, Uint8Array>();
  const seen = new Set<number>();
  for (let i = 0; i < count; i++) {
    const id = reader.u16le('An algorithm');
    const algorithm = algorithms.find((known) => known.id === id);
    if (algorithm === undefined || seen.has(id)) {
      throw evidenceError(
        'EVENTLOG_ALGORITHM',
        `A digest of algorithm 0x${id.toString(16)} is out of place.`,
      );
    }
    seen.add(id);
    const digest = reader.bytes(algorithm.size, 'A digest');
    const bank = BANKS.get(id);
    if (bank !== undefined) digests.set(bank, digest);
  }
  const data = reader.bytes(reader.u32le('The size of an event'), 'An event');
  return { pcr, type, digests, data };
}

/** Gives an error of the layers below the number of the event. */
function read<T>(index: number, what: () => T): T {
  try {
    return what();
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    if (cause.code === 'EVENTLOG_ALGORITHM') {
      throw evidenceError('EVENTLOG_ALGORITHM', cause.message, { pointer: `event:${index}`, cause });
    }
    throw malformed(index, cause.message, cause);
  }
}

function malformed(index: number, why: string, cause?: unknown) {
  return evidenceError('EVENTLOG_MALFORMED', `Event ${index} can’t be read: ${why}`, {
    pointer: `event:${index}`,
    cause,
  });
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && equalBytes(bytes.subarray(0, prefix.length), prefix);
}
