import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from '@kallio/e2e/process';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));

/** Changes with every byte of Kallio's own sources and with every locked dependency. */
export async function kallioDigest(): Promise<string> {
  const hash = createHash('sha256').update(await readFile(join(PROJECT, 'package-lock.json')));
  for (const name of (await readdir(join(PROJECT, 'packages'))).sort()) {
    await hashTree(join('packages', name, 'src'), hash);
  }
  return hash.digest('hex');
}

/**
 * Installs Kallio in a folder: the command bundled into a few files, dependencies and all. A machine measures every file
 * that it reads of them, and a slow one spends most of a start on opening a thousand.
 */
export async function installKallio(target: string): Promise<void> {
  const file = (path: string) => join(PROJECT, 'packages', path);
  await mkdir(join(target, 'lib'), { recursive: true });
  await must(
    'rolldown',
    [file('cli/src/main.ts'), '--platform', 'node', '--format', 'esm', '--dir', join(target, 'lib')],
    { timeoutMs: 300_000 },
  );
  await copyFile(file('cli/package.json'), join(target, 'package.json'));
  await copyFile(file('agent/src/shim/kallio-runc'), join(target, 'lib/kallio-runc'));
}

async function hashTree(folder: string, hash: ReturnType<typeof createHash>): Promise<void> {
  const entries = await readdir(join(PROJECT, folder), { withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await hashTree(path, hash);
    else hash.update(`${path}\0`).update(await readFile(join(PROJECT, path)));
  }
}
