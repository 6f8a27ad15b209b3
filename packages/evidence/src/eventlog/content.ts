import { KallioError, Reader } from '@kallio/codec';
import { evidenceError } from '../error.ts';
import { type BootText, readBootText } from './data/boot-text.ts';
import {
  type FirmwareBlob,
  type HandoffTables,
  type ImageLoad,
  readFirmwareBlob,
  readFirmwareBlob2,
  readHandoffTables,
  readHandoffTables2,
  readImageLoad,
} from './data/firmware.ts';
import { type PartitionTable, readPartitionTable } from './data/gpt.ts';
import { readGuid } from './data/guid.ts';
import { type Note, readNote } from './data/no-action.ts';
import { readTaggedEvent, type TaggedEvent } from './data/tagged.ts';
import { asciiText, utf16Text } from './data/text.ts';
import {
  authorityValue,
  readPaddedVariable,
  readVariableData,
  type VariableData,
  type VariableValue,
  variableValue,
} from './data/variable.ts';
import { eventTypeName, type FirmwareEvent, type FirmwareNote } from './event.ts';

/**
 * The data of an event, decoded by the type that the log gives it. The type is the log’s word and never proved: what kind
 * of thing the bytes are is a claim even where every byte is proved.
 */
export type EventContent =
  | ({ readonly kind: 'variable'; readonly value: VariableValue } & VariableData)
  | ({ readonly kind: 'image' } & ImageLoad)
  | ({ readonly kind: 'partitions' } & PartitionTable)
  | ({ readonly kind: 'firmware-blob' } & FirmwareBlob)
  | ({ readonly kind: 'handoff-tables' } & HandoffTables)
  | ({ readonly kind: 'tagged' } & TaggedEvent)
  | ({ readonly kind: 'text' } & BootText)
  | { readonly kind: 'version'; readonly version: string }
  | { readonly kind: 'separator'; readonly error: boolean }
  /** A type or a form that is not known here. */
  | { readonly kind: 'unknown' };

/**
 * Decodes an event’s data. Lengths and counts that don’t fit the event are `EVENTLOG_DATA`, hostile signature lists
 * `EVENTLOG_SIGNATURES`, with the event’s number.
 */
export function decodeContent({ index, unauthenticated: { type, data } }: FirmwareEvent): EventContent {
  return read(index, () => contentOf(eventTypeName(type), data));
}

/** Decodes an EV_NO_ACTION event. One that is too short for its signature is `EVENTLOG_DATA`. */
export function decodeNote({ index, unauthenticated: { data } }: FirmwareNote): Note {
  return read(index, () => readNote(data));
}

function read<T>(index: number, what: () => T): T {
  try {
    return what();
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    const code = cause.code === 'EVENTLOG_SIGNATURES' ? cause.code : 'EVENTLOG_DATA';
    throw evidenceError(code, `The data of event ${index} can’t be read: ${cause.message}`, {
      pointer: `event:${index}`,
      cause,
    });
  }
}

function contentOf(type: string, data: Uint8Array): EventContent {
  switch (type) {
    case 'EV_EFI_VARIABLE_DRIVER_CONFIG':
    case 'EV_EFI_VARIABLE_BOOT':
    case 'EV_EFI_VARIABLE_BOOT2': {
      const variable = readVariableData(data);
      return { kind: 'variable', ...variable, value: variableValue(variable) };
    }
    case 'EV_EFI_VARIABLE_AUTHORITY': {
      const variable = readPaddedVariable(data);
      return { kind: 'variable', ...variable, value: authorityValue(variable) };
    }
    case 'EV_EFI_BOOT_SERVICES_APPLICATION':
    case 'EV_EFI_BOOT_SERVICES_DRIVER':
    case 'EV_EFI_RUNTIME_SERVICES_DRIVER':
      return { kind: 'image', ...readImageLoad(data) };
    case 'EV_EFI_GPT_EVENT':
    case 'EV_EFI_GPT_EVENT2':
      return { kind: 'partitions', ...readPartitionTable(data) };
    case 'EV_EFI_PLATFORM_FIRMWARE_BLOB':
      return { kind: 'firmware-blob', ...readFirmwareBlob(data) };
    case 'EV_EFI_PLATFORM_FIRMWARE_BLOB2':
      return { kind: 'firmware-blob', ...readFirmwareBlob2(data) };
    case 'EV_EFI_HANDOFF_TABLES':
      return { kind: 'handoff-tables', ...readHandoffTables(data) };
    case 'EV_EFI_HANDOFF_TABLES2':
      return { kind: 'handoff-tables', ...readHandoffTables2(data) };
    case 'EV_EVENT_TAG':
      return { kind: 'tagged', ...readTaggedEvent(data) };
    case 'EV_SEPARATOR':
      return separatorOf(data);
    case 'EV_S_CRTM_VERSION':
      return versionOf(data);
    case 'EV_POST_CODE':
    case 'EV_POST_CODE2':
      return postCodeOf(data);
    case 'EV_IPL':
    case 'EV_ACTION':
    case 'EV_EFI_ACTION':
    case 'EV_S_CRTM_CONTENTS':
    case 'EV_EFI_HCRTM_EVENT':
    case 'EV_COMPACT_HASH':
    case 'EV_OMIT_BOOT_DEVICE_EVENTS':
      return textOf(data);
    default:
      return { kind: 'unknown' };
  }
}

/** Zeros or ones where all is well, 1 where the firmware failed to measure (PFP section 10.4.1, EV_SEPARATOR). */
function separatorOf(data: Uint8Array): EventContent {
  const value = data.length === 4 ? new Reader(data).u32le() : undefined;
  if (value === 0 || value === 0xffff_ffff) return { kind: 'separator', error: false };
  // shim and systemd separate with words of their own; those are what they say.
  return value === 1 ? { kind: 'separator', error: true } : textOf(data);
}

/** UTF-16 text or a GUID (PFP section 10.4.1, EV_S_CRTM_VERSION). */
function versionOf(data: Uint8Array): EventContent {
  const version = utf16Text(data) ?? (data.length === 16 ? readGuid(new Reader(data)) : asciiText(data));
  return version === undefined ? { kind: 'unknown' } : { kind: 'version', version };
}

/** `POST CODE`, `ACPI DATA`, …, or where the code lies (PFP section 10.4.1, EV_POST_CODE). */
function postCodeOf(data: Uint8Array): EventContent {
  const text = textOf(data);
  if (text.kind === 'text') return text;
  if (data.length === 16) return { kind: 'firmware-blob', ...readFirmwareBlob(data) };
  return data[0] === data.length - 17 ? { kind: 'firmware-blob', ...readFirmwareBlob2(data) } : text;
}

function textOf(data: Uint8Array): EventContent {
  const text = readBootText(data);
  return text === undefined ? { kind: 'unknown' } : { kind: 'text', ...text };
}
