import type { TSchema } from 'typebox';
import { BASE64 } from './schemas.ts';
import { longBase64 } from './text.ts';

/** Where a value does not fit its schema, and how. */
export interface Mismatch {
  /** JSON pointer (RFC 6901); empty for the value itself. */
  readonly pointer: string;
  /** The end of a sentence: `must be string`. */
  readonly reason: string;
}

/** Says where a value does not fit; undefined if it does. */
export type Check = (value: unknown) => Mismatch | undefined;

/** What of JSON Schema a declaration here may say. Another word is a check that nobody would make. */
export interface Words {
  readonly type?: string;
  readonly const?: unknown;
  readonly anyOf?: readonly TSchema[];
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
  readonly patternProperties?: Readonly<Record<string, TSchema>>;
  readonly items?: TSchema | readonly TSchema[];
  readonly additionalItems?: false;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** By type, the words that go with it. */
const WORDS: ReadonlyMap<string | undefined, readonly string[]> = new Map([
  [undefined, ['anyOf']],
  ['null', []],
  ['boolean', ['const']],
  ['number', ['const', 'minimum', 'maximum']],
  ['integer', ['const', 'minimum', 'maximum']],
  ['string', ['const', 'minLength', 'maxLength', 'pattern']],
  ['array', ['items', 'additionalItems', 'minItems', 'maxItems', 'uniqueItems']],
  ['object', ['properties', 'required', 'additionalProperties', 'patternProperties']],
]);
/** For readers, and for whoever fills in what is missing. */
const REMARKS: readonly string[] = ['$id', 'title', 'description', 'default'];

/**
 * Makes the check of a schema: JSON Schema as TypeBox writes it, as far as it is used here; a word outside that is an
 * error of the schema's author, thrown here. Stricter than the library's own checks in three ways:
 *
 * - what a record says of its members it says of all, also of those with a line break in their name;
 * - a member that no pattern of the names fits is refused, not passed over;
 * - only an object's own members are its members: every object inherits a `toString`.
 */
export function checkOf(schema: TSchema): Check {
  const words = schema as Words;
  const known = WORDS.get(words.type);
  const unknown = Object.keys(words).find(
    (word) => word !== 'type' && !REMARKS.includes(word) && known?.includes(word) !== true,
  );
  if (known === undefined || unknown !== undefined) {
    throw new Error(`a schema says ${unknown ?? 'type'} in a way that is not checked here`);
  }
  if (words.anyOf !== undefined) return anyOf(words.anyOf);
  if ('const' in words) return oneOf([words.const]);
  switch (words.type) {
    case undefined:
      return () => undefined;
    case 'null':
      return (value) => (value === null ? undefined : here('must be null'));
    case 'boolean':
      return (value) => (typeof value === 'boolean' ? undefined : here('must be boolean'));
    case 'string':
      return string(words);
    case 'array':
      return array(words);
    case 'object':
      return object(words);
    default:
      return number(words);
  }
}

function here(reason: string): Mismatch {
  return { pointer: '', reason };
}

function below(name: string | number, { pointer, reason }: Mismatch): Mismatch {
  const step = String(name).replaceAll('~', '~0').replaceAll('/', '~1');
  return { pointer: `/${step}${pointer}`, reason };
}

function oneOf(constants: readonly unknown[]): Check {
  if (constants.some((one) => typeof one === 'object')) {
    throw new Error('a constant is a string, a number or a boolean');
  }
  const wanted = new Set(constants);
  const reason = `must be ${constants.map((one) => JSON.stringify(one)).join(' or ')}`;
  return (value) => (wanted.has(value) ? undefined : here(reason));
}

/** What fits none of them is shown as the one that it comes nearest to: where it differs deepest. */
function anyOf(schemas: readonly TSchema[]): Check {
  const checks = schemas.map(checkOf);
  if (schemas.every((schema) => 'const' in schema))
    return oneOf(schemas.map((schema) => (schema as Words).const));
  return (value) => {
    let nearest = here('must be one of what may stand here');
    for (const check of checks) {
      const mismatch = check(value);
      if (mismatch === undefined) return undefined;
      if (depthOf(mismatch) > depthOf(nearest)) nearest = mismatch;
    }
    return nearest;
  };
}

function depthOf({ pointer }: Mismatch): number {
  return pointer.split('/').length;
}

function number({ type, minimum = -Infinity, maximum = Infinity }: Words): Check {
  const fits = type === 'integer' ? Number.isInteger : Number.isFinite;
  return (value) => {
    if (!fits(value)) return here(`must be ${type}`);
    const found = value as number;
    if (found < minimum) return here(`must be >= ${minimum}`);
    return found > maximum ? here(`must be <= ${maximum}`) : undefined;
  };
}

function string({ minLength = 0, maxLength = Infinity, pattern }: Words): Check {
  const form = pattern === undefined ? undefined : new RegExp(pattern, 'u');
  const fits = pattern === BASE64 ? fitsBase64 : (text: string) => form === undefined || form.test(text);
  return (value) => {
    if (typeof value !== 'string') return here('must be string');
    // A character has one or two code units: mostly there is nothing to count.
    if (value.length > maxLength && (value.length > 2 * maxLength || charactersOf(value) > maxLength)) {
      return here(`must not have more than ${maxLength} characters`);
    }
    if (value.length < 2 * minLength && charactersOf(value) < minLength) {
      return here(`must not have fewer than ${minLength} characters`);
    }
    return fits(value) ? undefined : here(`must match pattern "${pattern}"`);
  };
}

const BASE64_FORM = new RegExp(BASE64, 'u');
/** From about this length on, what is decoded is told sooner than what is looked at sign by sign. */
const LONG = 256;

function fitsBase64(text: string): boolean {
  return (text.length > LONG && longBase64(text) !== undefined) || BASE64_FORM.test(text);
}

function charactersOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function array({ items, additionalItems, minItems = 0, maxItems = Infinity, uniqueItems }: Words): Check {
  const tuple = Array.isArray(items) ? (items as readonly TSchema[]).map(checkOf) : undefined;
  const each = items === undefined || tuple !== undefined ? undefined : checkOf(items as TSchema);
  if (tuple !== undefined && additionalItems !== false) throw new Error('a tuple has no further items');
  return (value) => {
    if (!Array.isArray(value)) return here('must be array');
    if (value.length < minItems) return here(`must not have fewer than ${minItems} items`);
    if (value.length > maxItems) return here(`must not have more than ${maxItems} items`);
    for (let i = 0; i < value.length; i++) {
      const check = tuple === undefined ? each : tuple[i];
      if (check === undefined && tuple !== undefined) return below(i, here('this item is one too many'));
      const mismatch = check?.(value[i]);
      if (mismatch !== undefined) return below(i, mismatch);
    }
    if (uniqueItems === true && !unique(value)) return here('must not have duplicate items');
    return undefined;
  };
}

/** Of texts and numbers: what else can't stand twice has no place here. */
function unique(items: readonly unknown[]): boolean {
  if (items.some((item) => typeof item === 'object')) throw new Error('unique items are texts or numbers');
  return new Set(items).size === items.length;
}

/** The pattern under which TypeBox writes a record of any names. */
export const ANY_NAME = '^.*$';

function object(words: Words): Check {
  const { properties = {}, required = [], additionalProperties, patternProperties = {} } = words;
  const checks = new Map(Object.entries(properties).map(([name, schema]) => [name, checkOf(schema)]));
  const [pattern, ...more] = Object.entries(patternProperties);
  if (more.length > 0 || (pattern !== undefined && checks.size > 0)) {
    throw new Error('a record has one pattern of names, and no other members');
  }
  if (additionalProperties !== undefined && additionalProperties !== false) {
    throw new Error('what further members are is not checked here');
  }
  const members = pattern === undefined ? undefined : recordMember(...pattern);
  const closed = additionalProperties === false;
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return here('must be object');
    for (const name of required) {
      if (!Object.hasOwn(value, name)) return here(`must have required properties ${name}`);
    }
    for (const name of Object.keys(value)) {
      const member = (value as Readonly<Record<string, unknown>>)[name];
      const mismatch = members === undefined ? memberOf(name, member) : members(name, member);
      if (mismatch !== undefined) return below(name, mismatch);
    }
    return undefined;
  };

  function memberOf(name: string, member: unknown): Mismatch | undefined {
    const check = checks.get(name);
    if (check === undefined) return closed ? here('this field is unknown') : undefined;
    // In the program's own objects a member that is undefined is one that is left out.
    return member === undefined && !required.includes(name) ? undefined : check(member);
  }
}

function recordMember(
  pattern: string,
  schema: TSchema,
): (name: string, member: unknown) => Mismatch | undefined {
  const check = checkOf(schema);
  if (pattern === ANY_NAME) return (_, member) => check(member);
  const names = new RegExp(pattern, 'u');
  return (name, member) => (names.test(name) ? check(member) : here('this field is unknown'));
}
