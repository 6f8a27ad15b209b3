import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { utf8 } from '@kallio/codec';
import { checkpointText, parseCheckpointText } from '../checkpoint.ts';
import { tlogError } from '../error.ts';
import type { Seen, WitnessMemory } from '../witness/witness.ts';
import { replaceFile } from './begin.ts';
import { type Disk, fileSystem } from './disk.ts';
import { Lock } from './lock.ts';

/** Three lines for each log, as {@link checkpointText} writes them: the largest head of it that was signed. */
const FILE = 'seen';

/** A memory on disk, held by one process until it closes it. */
export interface HeldMemory extends WitnessMemory {
  /** Waits for what is being written, then lets go of the directory. */
  close(): Promise<void>;
}

/** Makes the memory of a witness that has seen nothing; `WITNESS_MEMORY` where there is one. */
export async function beginWitnessMemory(directory: string, disk: Disk = fileSystem): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (existsSync(join(directory, FILE))) {
    throw unusable('A witness has its memory in this directory.', 'Give the new one another directory.');
  }
  await replaceFile(disk, join(directory, FILE), utf8(''));
  await disk.sync(directory);
  await disk.sync(dirname(directory));
}

/**
 * What a witness has seen, in one file that is replaced whole. Two processes that each remembered what they signed
 * themselves would be a witness that signs two histories: the directory is held by one (`LOG_LOCKED`). And one whose memory is
 * gone would sign any: then it is `WITNESS_MEMORY`.
 */
export function openWitnessMemory(directory: string, disk: Disk = fileSystem): HeldMemory {
  const lock = new Lock(directory);
  try {
    const seen = read(join(directory, FILE));
    const write = async (origin: string, { size, root }: Seen) => {
      const heads = [...new Map(seen).set(origin, { size, root })];
      const text = heads.map(([name, head]) => checkpointText({ origin: name, ...head })).join('');
      await replaceFile(disk, join(directory, FILE), utf8(text));
      // COMMIT POINT: the name belongs to the new content also after a power cut.
      await disk.sync(directory);
      seen.set(origin, { size, root });
    };
    let writing = Promise.resolve();
    return {
      seen: (origin) => seen.get(origin),
      keep(origin, head) {
        writing = write(origin, head);
        return writing;
      },
      async close() {
        await Promise.allSettled([writing]);
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function read(path: string): Map<string, Seen> {
  const seen = new Map<string, Seen>();
  const lines = textOf(path).split('\n');
  for (let at = 0; at + 1 < lines.length; at += 3) {
    const { origin, size, root } = parseCheckpointText(`${lines.slice(at, at + 3).join('\n')}\n`);
    seen.set(origin, { size, root });
  }
  return seen;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unusable(
      'What this witness has seen can’t be read: without it, it might sign another history.',
      'Restore the newest copy of its directory, or make another witness under another name.',
      cause,
    );
  }
}

function unusable(message: string, hint: string, cause?: unknown) {
  return tlogError('WITNESS_MEMORY', message, { hint, cause });
}
