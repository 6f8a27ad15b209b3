import type { Static, TSchema } from 'typebox';
import { type CanonicalReader, canonicalReader } from './canonical-read.ts';
import { KallioError } from './error.ts';
import { type Check, checkOf } from './schema-check.ts';

const made = new WeakMap<TSchema, Check>();

/**
 * The value, typed, if it has the schema's shape; otherwise `code` (default `SHAPE_MISMATCH`) with a JSON pointer to
 * the first mismatch. Schemas of signed objects are written with `additionalProperties: false`: an unknown field in
 * them is a claim that nobody checks, so it is refused.
 */
export function decodeShape<S extends TSchema>(
  schema: S,
  value: unknown,
  code = 'SHAPE_MISMATCH',
  what = 'This document',
): Static<S> {
  let check = made.get(schema);
  if (check === undefined) {
    check = checkOf(schema);
    made.set(schema, check);
  }
  const mismatch = check(value);
  if (mismatch === undefined) return value as Static<S>;
  throw new KallioError(code, `${what} has not the shape it must have: ${mismatch.reason}.`, {
    pointer: mismatch.pointer || '/',
  });
}

/** Readers by schema; undefined where one document came so far. */
const readers = new WeakMap<TSchema, CanonicalReader | undefined>();

/** Of {@link readShape}'s readers: deeper texts are left to others. */
const READER_DEPTH = 8;

/**
 * The value of canonical JSON (RFC 8785) that has the schema's shape: what `parseJson` and {@link decodeShape} make of it, in
 * two thirds of the time. Undefined for every other text: they say what is wrong with it, if anything is. Undefined too for
 * the first of a schema: to make a reader takes as long as to read ten documents, and a command mostly reads one. How long a
 * text may be is for the caller to say, first.
 */
export function readShape<S extends TSchema>(schema: S, bytes: Uint8Array): Static<S> | undefined {
  let read = readers.get(schema);
  if (read === undefined) {
    const isFirst = !readers.has(schema);
    if (!isFirst) read = canonicalReader(schema, READER_DEPTH);
    readers.set(schema, read);
  }
  return read?.(bytes) as Static<S> | undefined;
}
