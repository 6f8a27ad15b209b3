import { closeSync, fstatSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { type Json, parseJson } from '@kallio/codec';
import { cliError } from './output/output.ts';

/**
 * A file's bytes; one that can't be read is `CLI_FILE`. With `enough`, no more than one byte past that many: what is
 * refused for its length need not be read to its end.
 */
export function readFile(path: string, enough?: number): Uint8Array {
  try {
    if (enough === undefined) return new Uint8Array(readFileSync(path));
    const file = openSync(path, 'r');
    try {
      const bytes = new Uint8Array(Math.min(fstatSync(file).size, enough + 1));
      return bytes.subarray(0, readSync(file, bytes));
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    throw cliError('CLI_FILE', `${path} can’t be read${why}.`);
  }
}

/** A JSON file, parsed strictly. */
export function readJson(path: string): Json {
  return parseJson(readFile(path));
}

/** Writes a file for a person, over one that is there; `CLI_FILE` where that can't be done. */
export function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    throw cliError('CLI_FILE', `${path} can’t be written${why}.`);
  }
}

/** A secret from a file: its one line. Secrets are never taken from the argument list, where everybody sees them. */
export function readSecret(path: string): string {
  return new TextDecoder().decode(readFile(path)).trim();
}
