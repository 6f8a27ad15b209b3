import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A folder for a while: it is removed with all that is in it, whatever becomes of what is done with it. What can't be removed
 * is said, and fails nothing.
 */
export async function withScratch<T>(
  say: (line: string) => void,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'kallio-build-'));
  try {
    return await use(folder);
  } finally {
    try {
      for (const point of await mountsBelow(folder)) await unmount(point);
      // Who was killed a moment ago may still be writing its last.
      await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    } catch (error) {
      say(`… ${folder} could not be removed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** What is mounted in a folder, the innermost first. A builder that was killed has left its storage mounted. */
async function mountsBelow(folder: string): Promise<readonly string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .map((point) =>
      point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    )
    .filter((point) => point.startsWith(`${folder}/`))
    .reverse();
}

async function unmount(point: string): Promise<void> {
  const child = spawn('umount', ['--lazy', point], { stdio: 'ignore' });
  // What stays mounted keeps the folder from being removed, which is said.
  await Promise.race([once(child, 'exit'), once(child, 'error')]);
}
