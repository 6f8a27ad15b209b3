import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { concat, type Json, parseJson } from '@kallio/codec';
import { cliError } from './output/output.ts';

/** A file's bytes; one that can't be read is `CLI_FILE`. */
export function readFile(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

const CHUNK = 256 * 1024;

/**
 * A file of at most `max` bytes; a longer one is `CLI_FILE_TOO_LARGE`, and no more of it than that is read. The length
 * that a file says it has is not believed: those under /sys/kernel/security say zero.
 */
export function readBounded(path: string, max: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  try {
    const file = openSync(path, 'r');
    try {
      for (;;) {
        const part = new Uint8Array(Math.min(CHUNK, max + 1 - total));
        const count = readSync(file, part);
        if (count === 0) return concat(...parts);
        parts.push(part.subarray(0, count));
        total += count;
        if (total > max) break;
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
  throw cliError('CLI_FILE_TOO_LARGE', `${path} has more than ${max} bytes: it is not what it should be.`);
}

function unreadable(path: string, cause: unknown) {
  return cliError('CLI_FILE', `${path} can’t be read${whyOf(cause)}.`);
}

function whyOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
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
    throw cliError('CLI_FILE', `${path} can’t be written${whyOf(cause)}.`);
  }
}

/** Writes a secret for its owner alone; never over a file that is there. */
export function writeSecret(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw cliError('CLI_FILE', `${path} can’t be written${whyOf(cause)}.`);
  }
}

/** A secret from a file: its one line. Secrets are never taken from the argument list, where everybody sees them. */
export function readSecret(path: string): string {
  return new TextDecoder().decode(readFile(path)).trim();
}
