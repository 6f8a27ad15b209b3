import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
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
  const bytes = readBeyond(path, max);
  if (bytes.length <= max) return bytes;
  throw cliError('CLI_FILE_TOO_LARGE', `${path} has more than ${max} bytes: it is not what it should be.`);
}

/** A file's bytes; of one that is longer than `max` the first `max + 1`, for whoever judges it to refuse. `CLI_FILE`. */
export function readBeyond(path: string, max: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  try {
    const file = openSync(path, 'r');
    try {
      while (total <= max) {
        const part = new Uint8Array(Math.min(CHUNK, max + 1 - total));
        const count = readSync(file, part);
        if (count === 0) break;
        parts.push(part.subarray(0, count));
        total += count;
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
  return concat(...parts);
}

/**
 * A file of any length in pieces of at most 256 KiB, each in the same memory: what is kept of one must be copied. `CLI_FILE`
 * where it can’t be read.
 */
export function* piecesOf(path: string): Generator<Uint8Array, void, undefined> {
  const memory = new Uint8Array(CHUNK);
  const file = orUnreadable(path, () => openSync(path, 'r'));
  try {
    for (;;) {
      const count = orUnreadable(path, () => readSync(file, memory));
      if (count === 0) return;
      yield memory.subarray(0, count);
    }
  } finally {
    closeSync(file);
  }
}

function orUnreadable<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw unreadable(path, cause);
  }
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

/**
 * Makes a secret and puts it into a file that only its owner reads, whoever could read one that was there before. The
 * file is opened first: a secret is never made and then lost for want of a place. `CLI_FILE` where there is none.
 */
export async function secretInto<T>(
  path: string,
  make: () => Promise<T>,
  secretOf: (made: T) => string,
): Promise<T> {
  const temporary = `${path}.new`;
  const file = openSecret(temporary);
  try {
    const made = await make();
    writeFileSync(file, `${secretOf(made)}\n`);
    fsyncSync(file);
    renameSync(temporary, path);
    return made;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

function openSecret(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(path, { force: true });
    return openSync(path, 'wx', 0o600);
  } catch (cause) {
    throw cliError('CLI_FILE', `${path} can’t be written${whyOf(cause)}.`);
  }
}

/** A secret from a file: its one line. Secrets are never taken from the argument list, where everybody sees them. */
export function readSecret(path: string): string {
  return new TextDecoder().decode(readFile(path)).trim();
}

/** Puts a file in the place of another: whoever reads it sees the old one or the new one, also after a power cut. */
export function replaceFile(path: string, bytes: Uint8Array): void {
  const beside = `${path}.${process.pid}.new`;
  try {
    const file = openSync(beside, 'w');
    try {
      writeFileSync(file, bytes);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    // COMMIT POINT: the name belongs to the new content from here on.
    renameSync(beside, path);
  } catch (cause) {
    rmSync(beside, { force: true });
    throw cliError('CLI_FILE', `${path} can’t be written${whyOf(cause)}.`);
  }
}
