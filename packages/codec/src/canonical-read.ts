import type { TSchema } from 'typebox';
import { fromUtf8 } from './bytes.ts';
import { KallioError } from './error.ts';
import { ANY_NAME, type Check, checkOf, type Words } from './schema-check.ts';

/*
 * Reads canonical JSON (RFC 8785) of a known schema in one go: what stands where is known beforehand, down to the byte, so
 * that nothing is looked for, and no key can stand twice or in another place. A text that is anything else, right or wrong,
 * is left to `parseJson` and `decodeShape`: this reader refuses nothing and says nothing of why.
 */

/** Not read: the text is not canonical, does not fit, or holds something rare. */
const MISSED = Symbol('missed');

/** Where one is in a text: bytes, a character each. */
interface Place {
  readonly text: string;
  at: number;
}

type Read = (place: Place) => unknown;

/**
 * Reads bytes; undefined where it doesn't. What it reads is what the strict reader would have read, but that objects whose
 * every member is named in the schema have the usual prototype: outside names are in none of them.
 */
export type CanonicalReader = (bytes: Uint8Array) => unknown;

/** The reader of a schema; what nests as deep as `maxDepth` it leaves to others. */
export function canonicalReader(schema: TSchema, maxDepth: number): CanonicalReader {
  const read = readerOf(schema, maxDepth);
  return (bytes) => {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    const place = { text, at: 0 };
    const value = read(place);
    return value === MISSED || place.at !== text.length ? undefined : value;
  };
}

/** `depth`: how many containers may still stand in one another, from here on. */
function readerOf(schema: TSchema, depth: number): Read {
  const words = schema as Words;
  if ('const' in words) return constant(words.const);
  if (words.anyOf !== undefined) return oneOf(words.anyOf.map((one) => readerOf(one, depth)));
  switch (words.type) {
    case undefined:
      return (place) => anything(place, depth);
    case 'array':
      return depth === 0 ? missed : array(words, depth - 1);
    case 'object':
      return depth === 0 ? missed : object(words, depth - 1);
    case 'string':
      return scalar(isSpelt(words.pattern) ? quoted : string, checkOf(schema));
    default:
      return scalar((place) => anything(place, 0), checkOf(schema));
  }
}

/**
 * Whether all that a pattern takes are characters that JSON writes as they stand: it is made of characters, positive classes
 * of them, groups and counts, from beginning to end. What fits it then needs no second look.
 */
function isSpelt(pattern: string | undefined): boolean {
  return pattern !== undefined && SPELT.test(pattern);
}

const CLASS = '\\[(?:A-Z|a-z|a-f|[0-9]-[0-9]|[A-Za-z0-9+/_.:]|-(?=\\]))+\\]';
const PART = `(?:${CLASS}|\\\\[.d]|[A-Za-z0-9:=/-]|[?*+]|\\{\\d+(?:,\\d*)?\\})`;
const SPELT = new RegExp(`^\\^(?:${PART}|\\(\\?:(?:${PART}|\\|)*\\))*\\$$`);

function missed(): typeof MISSED {
  return MISSED;
}

function scalar(read: Read, check: Check): Read {
  return (place) => {
    const value = read(place);
    return value === MISSED || check(value) !== undefined ? MISSED : value;
  };
}

function constant(value: unknown): Read {
  const written = asBytes(JSON.stringify(value));
  return (place) => (passed(place, written) ? value : MISSED);
}

function oneOf(readers: readonly Read[]): Read {
  return (place) => {
    const { at } = place;
    for (const read of readers) {
      const value = read(place);
      if (value !== MISSED) return value;
      place.at = at;
    }
    return MISSED;
  };
}

/** As the bytes of its UTF-8, a character each. */
function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** Whether exactly this stands here; one is behind it then. */
function passed(place: Place, written: string): boolean {
  if (!place.text.startsWith(written, place.at)) return false;
  place.at += written.length;
  return true;
}

function array({ items, minItems = 0, maxItems = Infinity, uniqueItems }: Words, depth: number): Read {
  if (uniqueItems === true || items === undefined) return missed;
  const tuple = Array.isArray(items) ? (items as readonly TSchema[]) : undefined;
  const readers = (tuple ?? [items as TSchema]).map((item) => readerOf(item, depth));
  return (place) => {
    const values = arrayOf(place, (i) => (tuple === undefined ? readers[0] : readers[i]) ?? missed);
    return values === MISSED || values.length < minItems || values.length > maxItems ? MISSED : values;
  };
}

function arrayOf(place: Place, readerAt: (index: number) => Read): unknown[] | typeof MISSED {
  const values: unknown[] = [];
  if (!passed(place, '[')) return MISSED;
  if (passed(place, ']')) return values;
  for (;;) {
    const value = readerAt(values.length)(place);
    if (value === MISSED) return MISSED;
    values.push(value);
    if (passed(place, ']')) return values;
    if (!passed(place, ',')) return MISSED;
  }
}

function object({ properties = {}, required = [], patternProperties = {} }: Words, depth: number): Read {
  const [pattern] = Object.entries(patternProperties);
  if (pattern !== undefined) {
    const read = readerOf(pattern[1], depth);
    return pattern[0] === ANY_NAME ? (place) => objectOf(place, read) : missed;
  }
  // RFC 8785 section 3.2.3: sorted by UTF-16 code units, as JavaScript compares.
  const members = Object.keys(properties)
    .toSorted()
    .map((name) => ({
      name,
      first: asBytes(`${JSON.stringify(name)}:`),
      next: asBytes(`,${JSON.stringify(name)}:`),
      read: readerOf(properties[name] ?? {}, depth),
      required: required.includes(name),
    }));
  if (members.some(({ name }) => name === PROTOTYPE)) return missed;
  return (place) => {
    const found: Record<string, unknown> = {};
    if (!passed(place, '{')) return MISSED;
    let first = true;
    for (const member of members) {
      if (passed(place, first ? member.first : member.next)) {
        const value = member.read(place);
        if (value === MISSED) return MISSED;
        found[member.name] = value;
        first = false;
      } else if (member.required) {
        return MISSED;
      }
    }
    return passed(place, '}') ? found : MISSED;
  };
}

/** To set it is not to have a member of that name. */
const PROTOTYPE = '__proto__';

/** An object of any names. */
function objectOf(place: Place, read: Read): unknown {
  const found: Record<string, unknown> = {};
  if (!passed(place, '{')) return MISSED;
  let before: string | undefined;
  while (!passed(place, '}')) {
    if (before !== undefined && !passed(place, ',')) return MISSED;
    const name = string(place);
    if (typeof name !== 'string' || name === PROTOTYPE || !passed(place, ':')) return MISSED;
    if (before !== undefined && before >= name) return MISSED;
    const value = read(place);
    if (value === MISSED) return MISSED;
    found[name] = value;
    before = name;
  }
  return Object.setPrototypeOf(found, null);
}

/** Any value. */
function anything(place: Place, depth: number): unknown {
  switch (place.text[place.at]) {
    case '"':
      return string(place);
    case '{':
      return depth === 0 ? MISSED : objectOf(place, (within) => anything(within, depth - 1));
    case '[':
      return depth === 0 ? MISSED : arrayOf(place, () => (within) => anything(within, depth - 1));
    case 't':
      return passed(place, 'true') ? true : MISSED;
    case 'f':
      return passed(place, 'false') ? false : MISSED;
    case 'n':
      return passed(place, 'null') ? null : MISSED;
    default:
      return number(place);
  }
}

const NUMBER = /[-+.0-9e]+/y;

function number(place: Place): number | typeof MISSED {
  NUMBER.lastIndex = place.at;
  const written = NUMBER.exec(place.text)?.[0] ?? '';
  const value = Number(written);
  // Of integers past 2^53 the strict reader may refuse some.
  const isExact = Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  if (!isExact || String(value) !== written) return MISSED;
  place.at += written.length;
  return value;
}

/** What JSON writes as it stands, in bytes that are characters. */
const PLAIN = /^[ !#-[\]-~]*$/;

function string(place: Place): string | typeof MISSED {
  const { at } = place;
  const value = quoted(place);
  if (value === MISSED || PLAIN.test(value)) return value;
  place.at = at;
  return escaped(place);
}

/** What stands between this quotation mark and the next: a string, if all its characters prove to stand for themselves. */
function quoted(place: Place): string | typeof MISSED {
  const { text, at } = place;
  if (text[at] !== '"') return MISSED;
  const end = text.indexOf('"', at + 1);
  if (end === -1) return MISSED;
  place.at = end + 1;
  return text.slice(at + 1, end);
}

function escaped(place: Place): string | typeof MISSED {
  const end = endOfString(place);
  if (end === -1) return MISSED;
  const written = place.text.slice(place.at, end);
  place.at = end;
  try {
    const text = fromUtf8(Buffer.from(written, 'latin1'));
    const value: unknown = JSON.parse(text);
    const isCanonical = typeof value === 'string' && value.isWellFormed() && JSON.stringify(value) === text;
    return isCanonical ? value : MISSED;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof KallioError) return MISSED;
    throw error;
  }
}

/** Behind the first quotation mark that no odd number of backslashes stands before; -1 where there is none. */
function endOfString({ text, at }: Place): number {
  for (let quote = text.indexOf('"', at + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let from = quote;
    while (text[from - 1] === '\\') from--;
    if ((quote - from) % 2 === 0) return quote + 1;
  }
  return -1;
}
