import { KallioError, printable, type Refusal, toHex } from '@kallio/codec';
import {
  type DecodedEvent,
  decodeEvent,
  decodeNote,
  type EventLog,
  eventTypeName,
  type FirmwareEvent,
  type FirmwareNote,
  type MeasureRecord,
  recordTextIsMeasured,
} from '@kallio/evidence';
import type { Bank } from './bank.ts';
import { describeEvent } from './event-text.ts';
import { plain } from './plain.ts';

/** One event, note or record: for a person, and for a program. */
export interface ShownEvent {
  readonly lines: readonly string[];
  readonly document: unknown;
  /** Why its data can’t be read. Its digest is replayed all the same. */
  readonly refusal?: Refusal;
}

/** The firmware’s events and notes, in the order of the log. */
export function showFirmwareLog(log: EventLog, bank: Bank): ShownEvent[] {
  const events = log.events.map((event) => ({ index: event.index, shown: showEvent(event, bank) }));
  const notes = log.notes.map((note) => ({ index: note.index, shown: showNote(note) }));
  return [...events, ...notes].sort((a, b) => a.index - b.index).map(({ shown }) => shown);
}

function showEvent(event: FirmwareEvent, bank: Bank): ShownEvent {
  const { index, authenticated, unauthenticated } = event;
  const type = eventTypeName(unauthenticated.type);
  const decoded = attempt<DecodedEvent>(() => decodeEvent(event, bank));
  const digest = authenticated.digests.get(bank);
  const head = [
    `event ${index}  PCR ${authenticated.pcr}  ${type}`,
    `  digest     ${bank}:${digest === undefined ? '-' : toHex(digest)}`,
  ];
  return shown(head, decoded, 'value' in decoded ? describeEvent(decoded.value) : [], {
    index,
    authenticated,
    unauthenticated: { type, data: unauthenticated.data },
  });
}

function showNote(note: FirmwareNote): ShownEvent {
  const { index, unauthenticated } = note;
  const decoded = attempt(() => decodeNote(note));
  const lines = 'value' in decoded ? [`described  ${printable(JSON.stringify(plain(decoded.value)))}`] : [];
  return shown([`event ${index}  no PCR  EV_NO_ACTION`], decoded, lines, {
    index,
    unauthenticated: { type: 'EV_NO_ACTION', data: unauthenticated.data },
  });
}

/** A record of user space’s. */
export function showRecord(record: MeasureRecord, bank: Bank): ShownEvent {
  const { index, authenticated, unauthenticated } = record;
  const { target, digests } = authenticated;
  const digest = digests.get(bank);
  const where = 'pcr' in target ? `PCR ${target.pcr}` : `NV 0x${target.nvIndex.toString(16)}`;
  const standing = recordTextIsMeasured(record, bank) ? 'measured ' : 'described';
  const { eventType = 'no type', text } = unauthenticated;
  return {
    lines: [
      `record ${index}  ${where}  ${printable(eventType)}`,
      `  digest     ${bank}:${digest === undefined ? '-' : toHex(digest)}`,
      ...(text === undefined ? [] : [`  ${standing}  “${printable(text)}”`]),
    ],
    document: plain({ ...record, textIsMeasured: standing === 'measured ' }),
  };
}

type Attempt<T> = { readonly value: T } | { readonly refusal: Refusal };

function shown(
  head: readonly string[],
  decoded: Attempt<unknown>,
  lines: readonly string[],
  document: object,
): ShownEvent {
  if ('value' in decoded) {
    return {
      lines: [...head, ...lines.map((line) => `  ${line}`)],
      document: plain({ ...document, decoded: decoded.value }),
    };
  }
  const { refusal } = decoded;
  return {
    lines: [...head, `  REFUSED    ${refusal.code}: ${refusal.message}`],
    document: plain({ ...document, refusal }),
    refusal,
  };
}

/** Data that lies about its lengths is shown as that: an event’s digest needs none of it. */
function attempt<T>(decode: () => T): Attempt<T> {
  try {
    return { value: decode() };
  } catch (error) {
    if (error instanceof KallioError) return { refusal: error.toJSON() };
    throw error;
  }
}
