import { fromBase64, KallioError, printable, toHex } from '@kallio/codec';
import {
  decodeEvent,
  decodeImaEntry,
  digestOfBank,
  eventTypeName,
  type FirmwareEvent,
  parseEventLog,
  readImaLog,
} from '@kallio/evidence';
import type { Derived } from './derive.ts';

/** What a refusal's pointer points to in the evidence, a line each. */
export function shownAt(
  pointer: string,
  { message, previous }: Pick<Derived, 'message' | 'previous'>,
  eventLog: string | undefined,
): string[] {
  const [, kind = '', number = ''] = /^(pcr|event|ima):(\d+)$/.exec(pointer) ?? [];
  const index = Number(number);
  switch (kind) {
    case 'pcr':
      return pcrLines(index, message, eventLog);
    case 'event': {
      const event = eventsOf(eventLog).find((one) => one.index === index);
      return event === undefined ? ['the event log is not here any more'] : [eventLine(event)];
    }
    case 'ima':
      return imaLines(index, message, previous);
    default:
      return pointer.startsWith('/') ? valueAt(pointer, message) : containerLines(pointer, message);
  }
}

type Message = Derived['message'];

function pcrLines(pcr: number, { pcrs }: Message, eventLog: string | undefined): string[] {
  const value = pcrs[0]?.values[String(pcr)];
  const events = eventsOf(eventLog).filter((event) => event.authenticated.pcr === pcr);
  return [`PCR ${pcr} as quoted: ${value ?? 'not shown'}`, ...events.slice(0, 32).map(eventLine)];
}

function eventsOf(eventLog: string | undefined): readonly FirmwareEvent[] {
  if (eventLog === undefined) return [];
  try {
    return parseEventLog(fromBase64(eventLog)).events;
  } catch (error) {
    if (error instanceof KallioError) return [];
    throw error;
  }
}

function eventLine(event: FirmwareEvent): string {
  const { index, authenticated, unauthenticated } = event;
  const digest = toHex(digestOfBank(authenticated, 'sha256'));
  return `event ${index}, PCR ${authenticated.pcr}, ${eventTypeName(unauthenticated.type)}: ${digest}  ${contentOf(event)}`;
}

/** What the event's data says, and whether that is proved. */
function contentOf(event: FirmwareEvent): string {
  try {
    const decoded = decodeEvent(event, 'sha256');
    const shown = decoded.proof === 'none' ? decoded.described : decoded.measured;
    const text = JSON.stringify(shown, (_, value) =>
      value instanceof Uint8Array
        ? `${value.length} bytes`
        : typeof value === 'bigint'
          ? String(value)
          : value instanceof Map
            ? Object.fromEntries(value)
            : value,
    );
    return `${decoded.proof === 'none' ? '(only described, not measured) ' : ''}${text.slice(0, 512)}`;
  } catch (error) {
    if (error instanceof KallioError) return `(${error.message})`;
    throw error;
  }
}

function imaLines(index: number, { ima }: Message, previous: Derived['previous']): string[] {
  const earlier = previous?.ima?.unmatched.find((entry) => entry.index === index);
  if (ima !== undefined && index >= ima.from) {
    for (const entry of readImaLog(fromBase64(ima.entries), { from: ima.from })) {
      if (entry.index !== index) continue;
      const { name, digest } = decodeImaEntry(entry);
      const violation = entry.violation ? ' (violation: nothing in it is proved)' : '';
      return [
        `entry ${index}, ${entry.template}: ${digest.algorithm}:${toHex(digest.bytes)}  ${printable(name)}${violation}`,
      ];
    }
  }
  return earlier === undefined
    ? [`entry ${index} was shown in earlier evidence`]
    : [`entry ${index}, shown in earlier evidence: ${earlier.digest}  ${printable(earlier.name)}`];
}

function containerLines(pointer: string, { inventory, instanceLog }: Message): string[] {
  const [, container] = /^container:(\S+)/.exec(pointer) ?? [];
  if (container === undefined) return [];
  const entries = instanceLog.entries
    .filter(({ event }) => event.container === container)
    .map(
      ({ seq, event }) => `instance log, entry ${seq}: ${event.verb} ${event.instance} from ${event.image}`,
    );
  const running = 'unchanged' in inventory ? [] : inventory.containers;
  const processes = running
    .filter((one) => one.container === container)
    .flatMap((one) => one.processes)
    .map(({ pid, executable, sha256 }) => `process ${pid}: ${printable(executable)}  sha256:${sha256}`);
  const changed = 'unchanged' in inventory ? [] : inventory.changed;
  const files = changed
    .filter((one) => one.container === container)
    .map(({ path }) => `changed file: ${printable(path)}`);
  return [...entries.slice(-8), ...processes.slice(0, 16), ...files.slice(0, 16)];
}

/** The value at a JSON pointer (RFC 6901). */
export function valueAt(pointer: string, document: unknown): string[] {
  let value: unknown = document;
  for (const token of pointer.slice(1).split('/')) {
    const name = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return [];
    value = Object.entries(value).find(([key]) => key === name)?.[1];
  }
  const text = JSON.stringify(value);
  return [`${pointer}: ${text.length > 200 ? `${text.slice(0, 200)}… (${text.length} characters)` : text}`];
}
