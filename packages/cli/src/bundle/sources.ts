import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout that these sources are in. */
export const PROJECT = fileURLToPath(new URL('../../../../', import.meta.url));

/**
 * Everything that the command's bundle is made of, folders included, as a new file shows there: Kallio's own sources, the
 * packages' declarations, and for what is not Kallio's the lock. Paths from the project's root, in order.
 */
export async function sourcesOf(): Promise<readonly Source[]> {
  const found: Source[] = [{ path: 'package-lock.json', folder: false }];
  for (const name of (await readdir(join(PROJECT, 'packages'))).sort()) {
    found.push({ path: `packages/${name}/package.json`, folder: false });
    await walk(`packages/${name}/src`, found);
  }
  return found;
}

export interface Source {
  readonly path: string;
  readonly folder: boolean;
}

async function walk(path: string, found: Source[]): Promise<void> {
  found.push({ path, folder: true });
  const entries = await readdir(join(PROJECT, path), { withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const below = `${path}/${entry.name}`;
    if (entry.isDirectory()) await walk(below, found);
    else found.push({ path: below, folder: false });
  }
}

/** Names the sources' content: changes with every byte of it and with every name. */
export async function digestOf(sources: readonly Source[]): Promise<string> {
  const hash = createHash('sha256');
  for (const { path, folder } of sources) {
    if (folder) continue;
    const bytes = await readFile(join(PROJECT, path));
    hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

/** Changes with every byte of Kallio's own sources and with every locked dependency. */
export async function kallioDigest(): Promise<string> {
  return digestOf(await sourcesOf());
}
