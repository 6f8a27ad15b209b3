import type { Static, TSchema } from 'typebox';
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
