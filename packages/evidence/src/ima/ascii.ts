import { hash } from 'node:crypto';
import { concat, equalBytes, fromHex, KallioError, toHex, utf8, Writer } from '@kallio/codec';
import { evidenceError } from '../error.ts';
import { IMA_PCR } from '../pcr.ts';
import type { ImaReadOptions } from './binary.ts';
import type { ImaEntry } from './entry.ts';
import { templateFields } from './template.ts';

/** `10 <sha1> <template> `: what every entry begins with. A line of a file's name may look so too. */
const HEAD = /^(\d{1,2}) ([0-9a-f]{40}) ([a-z0-9|-]{1,255}) /;
const ZERO = '0'.repeat(40);
/** A path of 4,096 bytes and a signature. A longer entry is not searched for lines that only look like entries. */
const MAX_AMBIGUOUS = 6 * 1024;
/** A measured buffer or signature is printed with two characters a byte. */
const MAX_LINE = 32 * 1024 * 1024;

/**
 * Reads an ASCII measurement list (`ascii_runtime_measurements`). Names may hold spaces and line breaks, which the
 * format does not mark; each way to read a line is tried against its SHA-1 template digest. A line that fits none is
 * `IMA_DIGEST`. Fields that the kernel prints in no reversible way make `IMA_TEMPLATE`: use the binary list then.
 */
export function* readImaText(
  text: string,
  options: ImaReadOptions = {},
): Generator<ImaEntry, void, undefined> {
  const reader = new ImaTextReader({ maxBytes: 64 * 1024 * 1024, ...options });
  yield* reader.push(text);
  yield* reader.end();
}

/** The same for a list that arrives in pieces, cut anywhere: what is held is the entry that has not ended yet. */
export class ImaTextReader {
  readonly #maxLength: number;
  #index: number;
  #taken = 0;
  /** The beginning of a line. */
  #line = '';
  /** Lines that may go on in the next one. */
  #pending: string | undefined;

  constructor({ from = 0, maxBytes = Number.POSITIVE_INFINITY }: ImaReadOptions = {}) {
    this.#index = from;
    this.#maxLength = maxBytes;
  }

  /** The entries that end in this piece. */
  *push(piece: string): Generator<ImaEntry, void, undefined> {
    this.#taken += piece.length;
    if (this.#taken > this.#maxLength) {
      throw evidenceError('IMA_TOO_LARGE', `This IMA log is longer than ${this.#maxLength} characters.`);
    }
    let at = 0;
    for (let end = piece.indexOf('\n'); end !== -1; end = piece.indexOf('\n', at)) {
      const entry = this.#take(this.#line + piece.slice(at, end));
      this.#line = '';
      at = end + 1;
      if (entry !== undefined) yield entry;
    }
    this.#line += piece.slice(at);
    // Stops a line that never ends from taking the memory of whoever waits for its end.
    if (this.#line.length > MAX_LINE) {
      throw evidenceError('IMA_TOO_LARGE', `Entry ${this.#index} is longer than ${MAX_LINE} characters.`, {
        pointer: `ima:${this.#index}`,
      });
    }
  }

  /** The last entry, which nothing but the end tells to be whole. */
  *end(): Generator<ImaEntry, void, undefined> {
    if (this.#line !== '') {
      const entry = this.#take(this.#line);
      this.#line = '';
      if (entry !== undefined) yield entry;
    }
    if (this.#pending !== undefined) yield parseEntry(this.#pending, this.#index);
    this.#pending = undefined;
  }

  /** The entry that this line shows to have ended before it. */
  #take(line: string): ImaEntry | undefined {
    if (this.#pending === undefined) {
      this.#pending = line;
      return undefined;
    }
    const entry = HEAD.test(line) ? wholeEntry(this.#pending, this.#index) : undefined;
    if (entry === undefined) {
      this.#pending += `\n${line}`;
      return undefined;
    }
    this.#index++;
    this.#pending = line;
    return entry;
  }
}

/** The entry, or `undefined` where its digest says that it goes on in the next line. */
function wholeEntry(text: string, index: number): ImaEntry | undefined {
  try {
    return parseEntry(text, index);
  } catch (error) {
    if (!(error instanceof KallioError) || text.length > MAX_AMBIGUOUS) throw error;
    // Stops a file whose name holds a line break and the head of an entry from making the whole log unreadable.
    if (error.code === 'IMA_DIGEST' || error.code === 'IMA_TEMPLATE') return undefined;
    throw error;
  }
}

function parseEntry(text: string, index: number): ImaEntry {
  const pointer = `ima:${index}`;
  const head = HEAD.exec(text);
  if (head === null)
    throw evidenceError('IMA_MALFORMED', 'A line of the IMA log has not the form of an entry.', { pointer });
  const [prefix, pcrText = '', digestText = '', template = ''] = head;
  const pcr = Number(pcrText);
  if (pcr !== IMA_PCR) {
    throw evidenceError('IMA_PCR', `Entry ${index} is of PCR ${pcr}; only PCR ${IMA_PCR} is judged.`, {
      pointer,
    });
  }
  const fields = templateFields(template, index);
  const data = templateData(text.slice(prefix.length), template, fields);
  if (data === undefined) {
    throw evidenceError('IMA_TEMPLATE', `The template ${template} can’t be read back from text.`, {
      pointer,
      hint: 'Use binary_runtime_measurements.',
    });
  }
  const violation = digestText === ZERO;
  if (!violation && !equalBytes(hash('sha1', data, 'buffer'), fromHex(digestText))) {
    throw evidenceError('IMA_DIGEST', `Entry ${index} of the IMA log is not what its template digest says.`, {
      pointer,
    });
  }
  return { index, pcr, template, violation, data };
}

/** The data that the kernel hashed. Digest first, name second, then fields in hexadecimal: the name is what is left. */
function templateData(rest: string, template: string, fields: readonly string[]): Uint8Array | undefined {
  const [digestField, nameField, ...others] = fields;
  const parts = rest.split(' ');
  if (parts.length < 2 + others.length) return undefined;
  const digest = digestBytes(digestField, parts[0] ?? '');
  const tail = others.length === 0 ? [] : parts.slice(-others.length);
  const name = utf8(parts.slice(1, parts.length - others.length).join(' '));
  if (digest === undefined) return undefined;
  if (template === 'ima')
    return name.length > 255 ? undefined : concat(digest, name, new Uint8Array(256 - name.length));
  if (nameField !== 'n-ng') return undefined;
  const values: Uint8Array[] = [digest, concat(name, new Uint8Array(1))];
  for (const [i, field] of others.entries()) {
    const value = fieldBytes(field, tail[i] ?? '');
    if (value === undefined) return undefined;
    values.push(value);
  }
  return concat(...values.map(sized));
}

function digestBytes(field: string | undefined, text: string): Uint8Array | undefined {
  const hex = text.slice(text.lastIndexOf(':') + 1);
  if (!isHex(hex)) return undefined;
  if (field === 'd') return text === hex ? fromHex(hex) : undefined;
  if (field !== 'd-ng' && field !== 'd-ngv2' && field !== 'd-modsig') return undefined;
  return concat(utf8(text.slice(0, text.length - hex.length)), new Uint8Array(1), fromHex(hex));
}

function fieldBytes(field: string, text: string): Uint8Array | undefined {
  if (text === '') return new Uint8Array();
  if (field === 'd-modsig') return digestBytes(field, text);
  const plain = field === 'sig' || field === 'buf' || field === 'modsig' || field === 'evmsig';
  return plain && isHex(text) ? fromHex(text) : undefined;
}

function isHex(text: string): boolean {
  return text.length % 2 === 0 && /^[0-9a-f]*$/.test(text) && toHex(Buffer.from(text, 'hex')) === text;
}

function sized(value: Uint8Array): Uint8Array {
  const size = new Writer(4).u32(value.length).finish().reverse();
  return concat(size, value);
}
