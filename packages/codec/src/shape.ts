import type { Static, TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { KallioError } from './error.ts';

const compiled = new WeakMap<TSchema, Validator>();

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
  let validator = compiled.get(schema);
  if (validator === undefined) {
    validator = Compile(schema);
    compiled.set(schema, validator);
  }
  if (validator.Check(value)) return value as Static<S>;
  const [first] = validator.Errors(value);
  throw new KallioError(code, `${what} has not the shape it must have: ${reason(first?.message)}.`, {
    pointer: first?.instancePath || '/',
  });
}

/** The library says "schema is false" of a field that should not be there. */
function reason(message: string | undefined): string {
  if (message === undefined) return 'it does not match';
  return message === 'schema is false' ? 'this field is unknown' : message;
}
