import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { must } from '@kallio/e2e/process';
import { type Say, told } from './say.ts';

/** What was built once and depends on its inputs alone: root file systems, kernels, disk images. */
const CACHE =
  process.env.KALLIO_LAB_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'kallio-lab');

/** A key of the cache: the hash of everything that the result depends on. */
export function keyOf(...inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const input of inputs) {
    const bytes = Buffer.from(input);
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest('hex').slice(0, 16);
}

/** Removes what builds have left that were ended before they could do so themselves. */
async function clearAbandoned(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const pid = /^\.[a-z]+-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await removeTree(join(CACHE, name));
  }
}

/** Removes a folder in which a root file system was being made: its /proc may be mounted still. */
async function removeTree(folder: string): Promise<void> {
  const proc = join(folder, 'root/proc');
  // What removes the folder must not reach into it.
  if (existsSync(join(proc, 'self'))) await must('umount', [proc]);
  await rm(folder, { recursive: true, force: true });
}

/**
 * The folder that `build` filled once, by its name and key. It is filled under another name and renamed when it is
 * whole: a build that was cut off leaves nothing that looks like a result. Two at once: the first one's stays.
 */
export async function cached(
  name: string,
  key: string,
  say: Say,
  build: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(CACHE, `${name}-${key}`);
  if (existsSync(folder)) return folder;
  await mkdir(CACHE, { recursive: true });
  await clearAbandoned();
  const work = await mkdtemp(join(CACHE, `.${name}-${process.pid}-`));
  try {
    await told(say, `${name}: building it once, into ${folder}`, () => build(work));
    await rename(work, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await removeTree(work);
  }
  return folder;
}
