import { hash } from 'node:crypto';
import { concat, equalBytes, KallioError, utf8 } from '@kallio/codec';
import type { HashName } from '@kallio/tpm/structures';
import { decodeContent, type EventContent } from './content.ts';
import { readBootText } from './data/boot-text.ts';
import { readPaddedVariable, type VariableData } from './data/variable.ts';
import type { FirmwareEvent } from './event.ts';
import { digestOfBank, eventDataIsMeasured } from './replay.ts';

/**
 * An event’s data, decoded, with how far a replay to quoted PCRs proves it:
 *
 * - `all`: the data is what was hashed. Every byte is proved; what kind of thing they are (the event’s type) is not.
 * - `part`: a part of it was hashed. That part is proved, and the name or label that stands beside it is not.
 * - `none`: something was hashed that is not in the log (an image, a file). The data only describes it.
 *
 * What is proved stands under `measured`, what the log merely says under `described`, so that one can’t be read for the
 * other by mistake.
 */
export type DecodedEvent =
  | { readonly proof: 'all'; readonly measured: EventContent }
  | { readonly proof: 'part'; readonly measured: MeasuredPart; readonly described: EventContent }
  | { readonly proof: 'none'; readonly described: EventContent };

/** The part of an event’s data that was hashed. */
export type MeasuredPart =
  /** A text without its label (GRUB), its closing zero (systemd-boot) or in another encoding (systemd-stub). */
  | { readonly part: 'text'; readonly text: string }
  /** A variable with its name, without what pads the event after it (shim). */
  | ({ readonly part: 'variable' } & VariableData)
  /** A variable’s content without its name (EV_EFI_VARIABLE_BOOT). */
  | { readonly part: 'variable-content'; readonly data: Uint8Array };

/**
 * Decodes an event, and finds by its digest in `bank` what was hashed. Errors are `EVENTLOG_DATA` and
 * `EVENTLOG_SIGNATURES` for data that doesn’t hold together, `EVENTLOG_BANK` for a bank that the log has not.
 */
export function decodeEvent(event: FirmwareEvent, bank: HashName): DecodedEvent {
  const content = decodeContent(event);
  if (eventDataIsMeasured(event, bank)) return { proof: 'all', measured: content };
  const part = measuredPart(event, bank);
  return part === undefined
    ? { proof: 'none', described: content }
    : { proof: 'part', measured: part, described: content };
}

/**
 * True when an event’s digest is that of this text, in a form that boot loaders hash: as it is or with a closing zero, in
 * UTF-8 or UTF-16. For texts that are not in the log, as the command line that Linux’s EFI stub measures.
 */
export function measuresText(event: FirmwareEvent, bank: HashName, text: string): boolean {
  const digest = digestOfBank(event.authenticated, bank);
  return textForms(text).some((form) => equalBytes(hash(bank, form, 'buffer'), digest));
}

function textForms(text: string): Uint8Array[] {
  const wide = new Uint8Array(Buffer.from(text, 'utf16le'));
  const narrow = utf8(text);
  return [narrow, concat(narrow, new Uint8Array(1)), wide, concat(wide, new Uint8Array(2))];
}

/** What part of its data an event’s digest is of. The event’s type is not asked: it proves nothing. */
function measuredPart(event: FirmwareEvent, bank: HashName): MeasuredPart | undefined {
  const { data } = event.unauthenticated;
  const boot = readBootText(data);
  if (boot !== undefined) {
    // With its label a text is measured by nobody; without a label it is measured with or without its zero.
    return measuresText(event, bank, boot.text) ? { part: 'text', text: boot.text } : undefined;
  }
  const variable = variableIn(data);
  if (variable === undefined) return undefined;
  const digest = digestOfBank(event.authenticated, bank);
  const isHashed = (bytes: Uint8Array) => equalBytes(hash(bank, bytes, 'buffer'), digest);
  if (isHashed(variable.data)) return { part: 'variable-content', data: variable.data };
  // shim of old counts one byte more than it hashes (lib/tpm.c).
  const shorter = data.subarray(0, -1);
  return isHashed(shorter) && variableIn(shorter) !== undefined
    ? { part: 'variable', ...variable }
    : undefined;
}

function variableIn(data: Uint8Array): VariableData | undefined {
  try {
    return readPaddedVariable(data);
  } catch (cause) {
    // Data of another form has no such part.
    if (!(cause instanceof KallioError)) throw cause;
    return undefined;
  }
}
