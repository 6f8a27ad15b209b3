import type { SQLOutputValue } from 'node:sqlite';
import { KallioError } from '@kallio/codec';
import type { StoreCode } from './error.ts';

/** A row as the database hands it out. */
export type Row = Record<string, SQLOutputValue>;

/** Readers of one column each: a column of another type means that the file was altered, and nothing goes on from it. */
export function text(row: Row, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : corrupt(column);
}

export function integer(row: Row, column: string): number {
  const value = row[column];
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : corrupt(column);
}

export function blob(row: Row, column: string): Uint8Array {
  const value = row[column];
  return value instanceof Uint8Array ? value : corrupt(column);
}

export function optional<T>(row: Row, column: string, read: (row: Row, column: string) => T): T | undefined {
  return row[column] === null || row[column] === undefined ? undefined : read(row, column);
}

/** The column's text, which must be one of the words given. */
export function word<const W extends string>(row: Row, column: string, words: readonly W[]): W {
  const value = text(row, column);
  return words.find((w) => w === value) ?? corrupt(column);
}

function corrupt(column: string): never {
  throw new KallioError(
    'STORE_CORRUPT' satisfies StoreCode,
    `The store holds no sense in its column ${column}.`,
    {
      hint: 'Stop the server and restore the data folder from a backup.',
    },
  );
}
