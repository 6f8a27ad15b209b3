import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** The last write that was begun, by path; it never rejects. */
const writing = new Map<string, Promise<void>>();

/**
 * Replaces a file so that after a crash at any instruction it is the old one or the new one, whole: write beside it,
 * fsync, rename, fsync the folder. When this returns, the new one is durable. Mode 0600 unless said otherwise. Writes of
 * one file are done one after another, in the order of the calls, so that the last call's content is what stays.
 */
export function writeDurably(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const before = writing.get(path) ?? Promise.resolve();
  const write = before.then(() => replace(path, content, mode));
  const ended = write
    .catch(() => undefined)
    .then(() => {
      if (writing.get(path) === ended) writing.delete(path);
    });
  writing.set(path, ended);
  return write;
}

/** A name beside the file that no other writer has, in this process or another. */
async function replace(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const beside = join(folder, `${basename(path)}.${randomBytes(8).toString('hex')}.new`);
  try {
    const file = await open(beside, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

const UNFINISHED = /\.[0-9a-f]{16}\.new$/;

/** Removes what writes left in a folder that a crash cut short. Call it before the first write, as the folder's only user. */
export async function removeUnfinished(folder: string): Promise<void> {
  for (const name of (await namesIn(folder)).filter((one) => UNFINISHED.test(one))) {
    await rm(join(folder, name), { force: true });
  }
}

/** The names in a folder; none where there is no such folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** Makes the names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A file's bytes, or undefined where there is no such file. Any other failure is thrown. */
export async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Says that there is no such file. */
export function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
