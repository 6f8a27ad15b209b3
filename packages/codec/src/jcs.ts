import { utf8 } from './bytes.ts';
import { KallioError } from './error.ts';

/**
 * JSON Canonicalization Scheme (RFC 8785): keys sorted by UTF-16 code units, no white space, numbers as ECMAScript
 * prints them. Takes any plain value; a member that is `undefined` is left out, as JSON has no such value.
 */
export function canonicalize(value: unknown): string {
  switch (typeof value) {
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      if (!Number.isFinite(value)) return refuse('a number that is not finite');
      return JSON.stringify(value);
    case 'string':
      if (!value.isWellFormed()) return refuse('a string with a lone surrogate');
      return JSON.stringify(value);
    case 'object':
      if (value === null) return 'null';
      if (Array.isArray(value)) return array(value);
      return object(value);
    default:
      return refuse(`a ${typeof value}`);
  }
}

/** The canonical form as UTF-8 bytes: what is hashed and signed everywhere. */
export function canonicalBytes(value: unknown): Uint8Array {
  return utf8(canonicalize(value));
}

function array(value: readonly unknown[]): string {
  // Not map(): it skips the holes of a sparse array, and join() would print them as nothing at all.
  return `[${Array.from(value, (item) => canonicalize(item)).join(',')}]`;
}

function object(value: object): string {
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return refuse('an object that is not plain');
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${canonicalize(key)}:${canonicalize(member)}`);
  return `{${members.join(',')}}`;
}

function refuse(what: string): never {
  throw new KallioError('JSON_NOT_CANONICAL', `Canonical JSON cannot hold ${what}.`);
}
