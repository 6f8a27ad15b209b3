import { KallioError, Reader } from '@kallio/codec';
import { devicePathTexts } from './device-path.ts';
import { GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE, readGuid } from './guid.ts';
import { readAuthority, readSignatureLists, type Signature, type SignatureList } from './signature-list.ts';
import { readUtf16Z, utf16 } from './text.ts';

/** UEFI_VARIABLE_DATA (PC Client Platform Firmware Profile 1.06, section 10.2): which variable, and its content. */
export interface VariableData {
  /** GUID of the variable’s namespace. */
  readonly vendor: string;
  readonly name: string;
  readonly data: Uint8Array;
}

/** What a variable holds, by its name. */
export type VariableValue =
  | { readonly is: 'flag'; readonly set: boolean }
  | { readonly is: 'signature-lists'; readonly lists: readonly SignatureList[] }
  | { readonly is: 'signature'; readonly signature: Signature }
  | { readonly is: 'boot-order'; readonly order: readonly string[] }
  | { readonly is: 'boot-option'; readonly option: BootOption }
  | { readonly is: 'bytes' };

/** EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3). */
export interface BootOption {
  readonly active: boolean;
  readonly description: string;
  /** Device paths, as text: the first is where the image lies, others are the maker’s. */
  readonly paths: readonly string[];
  /** What the loaded image is handed. */
  readonly optionalData: Uint8Array;
}

const MAX_NAME = 512;
const FLAGS: ReadonlySet<string> = new Set(['SecureBoot', 'SetupMode', 'AuditMode', 'DeployedMode']);
const GLOBAL_KEYS: ReadonlySet<string> = new Set(['PK', 'KEK']);
const DATABASES: ReadonlySet<string> = new Set(['db', 'dbx', 'dbt', 'dbr']);

/** Reads UEFI_VARIABLE_DATA. Errors are `CODEC_…`: lengths that don’t fit the event. */
export function readVariableData(bytes: Uint8Array): VariableData {
  const reader = new Reader(bytes);
  const variable = readVariable(reader);
  reader.end('A variable’s event');
  return variable;
}

/** The same from an event with bytes to spare: shim makes room for the structure’s padding (lib/tpm.c) and leaves it empty. */
export function readPaddedVariable(bytes: Uint8Array): VariableData {
  return readVariable(new Reader(bytes));
}

function readVariable(reader: Reader): VariableData {
  const vendor = readGuid(reader, 'A variable’s GUID');
  const units = Number(reader.u64le('The length of a variable’s name'));
  const size = Number(reader.u64le('The size of a variable'));
  if (units > MAX_NAME)
    throw new KallioError('CODEC_RANGE', `A variable’s name can’t have ${units} characters.`);
  const name = utf16(reader.bytes(units * 2, 'A variable’s name'));
  const data = reader.bytes(size, 'A variable');
  return { vendor, name, data };
}

/** Decodes the content of a variable that is measured whole. Signature lists with hostile sizes are `EVENTLOG_SIGNATURES`. */
export function variableValue({ vendor, name, data }: VariableData): VariableValue {
  if (vendor === GLOBAL_VARIABLE) {
    const [flag] = data;
    if (FLAGS.has(name) && data.length === 1 && (flag === 0 || flag === 1))
      return { is: 'flag', set: flag === 1 };
    if (GLOBAL_KEYS.has(name)) return { is: 'signature-lists', lists: readSignatureLists(data) };
    if (name === 'BootOrder' && data.length % 2 === 0) return { is: 'boot-order', order: bootOrder(data) };
    if (/^(?:Boot|Driver|SysPrep)[0-9A-F]{4}$/.test(name))
      return { is: 'boot-option', option: bootOption(data) };
  }
  if (vendor === IMAGE_SECURITY_DATABASE && DATABASES.has(name)) {
    return { is: 'signature-lists', lists: readSignatureLists(data) };
  }
  return { is: 'bytes' };
}

/** Decodes what EV_EFI_VARIABLE_AUTHORITY holds: of a key database, the one signature that let an image pass. */
export function authorityValue({ vendor, name, data }: VariableData): VariableValue {
  const signature =
    vendor === IMAGE_SECURITY_DATABASE && DATABASES.has(name) ? readAuthority(data) : undefined;
  return signature === undefined ? { is: 'bytes' } : { is: 'signature', signature };
}

function bootOrder(data: Uint8Array): string[] {
  const reader = new Reader(data);
  return Array.from(
    { length: data.length / 2 },
    () => `Boot${reader.u16le().toString(16).toUpperCase().padStart(4, '0')}`,
  );
}

function bootOption(data: Uint8Array): BootOption {
  const reader = new Reader(data);
  const attributes = reader.u32le('A boot option’s attributes');
  const pathSize = reader.u16le('The length of a boot option’s path');
  const description = readUtf16Z(reader, 'A boot option’s description');
  const paths = devicePathTexts(reader.bytes(pathSize, 'A boot option’s path'));
  return { active: (attributes & 1) === 1, description, paths, optionalData: reader.rest() };
}
