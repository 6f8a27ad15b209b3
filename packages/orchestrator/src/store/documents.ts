import { decodeShape, parseJson } from '@kallio/codec';
import { optional, type Row, text } from '@kallio/store';
import type { Static, TSchema } from 'typebox';
import type { OrchestratorCode } from '../error.ts';

/** A column's JSON document, which must have this shape. */
export function document<S extends TSchema>(row: Row, column: string, shape: S): Static<S> {
  return decodeShape(
    shape,
    parseJson(text(row, column)),
    'STORE_CORRUPT' satisfies OrchestratorCode,
    `The store’s column ${column}`,
  );
}

/** The same, where the column may be empty. */
export function optionalDocument<S extends TSchema>(
  row: Row,
  column: string,
  shape: S,
): Static<S> | undefined {
  return optional(row, column, (r, c) => document(r, c, shape));
}
