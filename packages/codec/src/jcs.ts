import { hash } from 'node:crypto';
import { borrowUtf8 } from './bytes.ts';
import { KallioError } from './error.ts';
import type { Digest } from './text.ts';

/** The canonical form of a part that was written before; undefined for any other. */
export type Written = (part: object) => string | undefined;

/**
 * JSON Canonicalization Scheme (RFC 8785): keys sorted by UTF-16 code units, no white space, numbers as ECMAScript
 * prints them. Takes any plain value; a member that is `undefined` is left out, as JSON has no such value. Whoever has
 * the canonical form of a part already may give it, so that it is not written twice.
 */
export function canonicalize(value: unknown, written?: Written): string {
  switch (typeof value) {
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      if (!Number.isFinite(value)) return refuse('a number that is not finite');
      return JSON.stringify(value);
    case 'string':
      return string(value);
    case 'object':
      if (value === null) return 'null';
      return written?.(value) ?? (Array.isArray(value) ? array(value, written) : object(value, written));
    default:
      return refuse(`a ${typeof value}`);
  }
}

/** SHA-256 of the canonical form. */
export function canonicalDigest(value: unknown): Digest {
  return `sha256:${hash('sha256', canonicalize(value), 'hex')}`;
}

/** The canonical form as UTF-8 bytes: what is hashed and signed everywhere. */
export function canonicalBytes(value: unknown, written?: Written): Uint8Array {
  // It is well-formed: see `string`.
  return borrowUtf8(canonicalize(value, written));
}

function array(value: readonly unknown[], written: Written | undefined): string {
  // By index: what iterates skips the holes of a sparse array, and join() would print them as nothing at all.
  let out = '';
  for (let i = 0; i < value.length; i++) {
    const item = canonicalize(value[i], written);
    out += i === 0 ? item : `,${item}`;
  }
  return `[${out}]`;
}

function object(value: object, written: Written | undefined): string {
  if (!isPlain(value)) return refuse('an object that is not plain');
  const keys = inOrder(Object.keys(value));
  let out = '';
  for (const key of keys) {
    const member = value[key];
    if (member === undefined) continue;
    const text = typeof member === 'string' ? string(member) : canonicalize(member, written);
    out += (out === '' ? '' : ',') + memberName(key) + text;
  }
  return `{${out}}`;
}

/** Lists of keys that were sorted last, by their length, as they came and in order: the next document's are the same. */
const sorted = new Map<number, { readonly keys: readonly string[]; readonly inOrder: readonly string[] }>();
const MAX_SORTED = 64;

function inOrder(keys: readonly string[]): readonly string[] {
  if (areAscending(keys)) return keys;
  const known = sorted.get(keys.length);
  if (known !== undefined && areSame(known.keys, keys)) return known.inOrder;
  const ordered = keys.toSorted();
  // Stops whoever chooses keys from filling the memory with them.
  if (keys.length <= MAX_SORTED && keys.every((key) => key.length <= MAX_NAME_LENGTH)) {
    sorted.set(keys.length, { keys, inOrder: ordered });
  }
  return ordered;
}

function areSame(a: readonly string[], b: readonly string[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function areAscending(keys: readonly string[]): boolean {
  for (let i = 1; i < keys.length; i++) if ((keys[i - 1] ?? '') > (keys[i] ?? '')) return false;
  return true;
}

/** Keys that were written before, as they are written: a document's are few, and come again in the next. */
const names = new Map<string, string>();
const MAX_NAMES = 1024;
const MAX_NAME_LENGTH = 64;

function memberName(key: string): string {
  let name = names.get(key);
  if (name === undefined) {
    name = `${string(key)}:`;
    // Stops whoever chooses keys from filling the memory with them.
    if (names.size < MAX_NAMES && key.length <= MAX_NAME_LENGTH) names.set(key, name);
  }
  return name;
}

function isPlain(value: object): value is Readonly<Record<string, unknown>> {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** What JSON writes as it stands. Almost every string here is: asking is twice as fast as having it escaped. */
const PLAIN = /^[ !#-[\]-~]*$/;

function string(value: string): string {
  if (PLAIN.test(value)) return `"${value}"`;
  return value.isWellFormed() ? JSON.stringify(value) : refuse('a string with a lone surrogate');
}

function refuse(what: string): never {
  throw new KallioError('JSON_NOT_CANONICAL', `Canonical JSON cannot hold ${what}.`);
}
