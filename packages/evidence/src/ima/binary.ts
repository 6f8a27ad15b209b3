import { concat, KallioError, Reader } from '@kallio/codec';
import { evidenceError } from '../error.ts';
import { IMA_PCR } from '../pcr.ts';
import type { ImaEntry } from './entry.ts';
import { templateFields } from './template.ts';

const SHA1_BYTES = 20;
const OLD_NAME_BYTES = 256;
const MAX_TEMPLATE_NAME = 255;

/** Where a list starts that is not read from its first entry. */
export interface ImaReadOptions {
  /** Place of the first entry in the list of this boot. */
  readonly from?: number;
  /** Most bytes. Default 64 MiB. */
  readonly maxBytes?: number;
}

/**
 * Reads a binary measurement list (`binary_runtime_measurements`, little-endian), one entry at a time and without
 * copying, so that memory does not grow with the list (Linux, security/integrity/ima/ima_fs.c: PCR, SHA-1 template
 * digest, template name, data). Errors are `IMA_…` with the entry's number.
 */
export function* readImaLog(
  bytes: Uint8Array,
  options: ImaReadOptions = {},
): Generator<ImaEntry, void, undefined> {
  const { from = 0, maxBytes = 64 * 1024 * 1024 } = options;
  if (bytes.length > maxBytes) {
    throw evidenceError('IMA_TOO_LARGE', `This IMA log is longer than ${maxBytes} bytes.`);
  }
  const reader = new Reader(bytes);
  const names = new TemplateNames();
  for (let index = from; reader.remaining > 0; index++) yield readEntry(reader, index, names);
}

function readEntry(reader: Reader, index: number, names: TemplateNames): ImaEntry {
  try {
    const pcr = reader.u32le('A PCR index');
    // Stops entries that went to another PCR from being taken for proved by this one.
    if (pcr !== IMA_PCR) {
      throw evidenceError('IMA_PCR', `Entry ${index} is of PCR ${pcr}; only PCR ${IMA_PCR} is judged.`, {
        pointer: `ima:${index}`,
      });
    }
    const digest = reader.bytes(SHA1_BYTES, 'A template digest');
    const size = reader.u32le('The size of a template name');
    if (size === 0 || size > MAX_TEMPLATE_NAME) {
      throw evidenceError('IMA_TEMPLATE', `The name of a template can’t have ${size} bytes.`, {
        pointer: `ima:${index}`,
      });
    }
    const template = names.nameOf(reader.bytes(size, 'A template name'), index);
    const data =
      template === 'ima'
        ? readOldData(reader, index)
        : reader.bytes(reader.u32le('The size of an entry'), 'An entry');
    return { index, pcr, template, violation: isZero(digest), data };
  } catch (cause) {
    if (!(cause instanceof KallioError) || cause.code.startsWith('IMA_')) throw cause;
    throw evidenceError('IMA_MALFORMED', `Entry ${index} of the IMA log can’t be read: ${cause.message}`, {
      pointer: `ima:${index}`,
      cause,
    });
  }
}

/** The data of the template `ima`, as the kernel hashes it: the name padded with zeros to 256 bytes. */
function readOldData(reader: Reader, index: number): Uint8Array {
  const digest = reader.bytes(SHA1_BYTES, 'A digest');
  const size = reader.u32le('The size of a name');
  if (size > OLD_NAME_BYTES - 1) {
    throw evidenceError('IMA_MALFORMED', `A name in the template ima can’t have ${size} bytes.`, {
      pointer: `ima:${index}`,
    });
  }
  const name = reader.bytes(size, 'A name');
  return concat(digest, name, new Uint8Array(OLD_NAME_BYTES - size));
}

/** Almost every entry has the same template: its name is decoded and checked once. */
class TemplateNames {
  #bytes: Uint8Array = new Uint8Array();
  #name = '';

  nameOf(bytes: Uint8Array, index: number): string {
    if (Buffer.compare(this.#bytes, bytes) !== 0) {
      const name = Buffer.from(bytes).toString('latin1');
      templateFields(name, `ima:${index}`);
      this.#bytes = bytes;
      this.#name = name;
    }
    return this.#name;
  }
}

function isZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}
