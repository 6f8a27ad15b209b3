import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileManifest } from './file-manifest.ts';

/** How a mounted root file system differs from its image's file manifest. Paths as inside the container. */
export interface RootDifference {
  readonly changed: readonly string[];
  readonly missing: readonly string[];
  /** Regular files that are in no layer of the image. */
  readonly added: readonly string[];
}

/** Digests of files that have not changed since they were read: by device, inode, size and change time. */
export type HashCache = Map<string, string>;

/** Files that an engine puts into a container's root before it starts: empty, for others to be mounted over. */
const PLACEHOLDERS: ReadonlySet<string> = new Set([
  '/etc/hosts',
  '/etc/hostname',
  '/etc/resolv.conf',
  '/run/.containerenv',
]);

/**
 * Compares every regular file below `root` with the manifest: content, and mode. Symbolic links are never followed.
 * Other file systems mounted below the root are not entered: the runtime's configuration names those.
 */
export async function checkRoot(
  root: string,
  manifest: FileManifest,
  cache: HashCache = new Map(),
): Promise<RootDifference> {
  const expected = new Map(manifest.files.map((file) => [file.path, file]));
  const changed: string[] = [];
  const added: string[] = [];
  const device = (await lstat(root)).dev;
  const pending = [''];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    for (const entry of await readdir(join(root, path), { withFileTypes: true })) {
      const inside = `${path}/${entry.name}`;
      if (!entry.isDirectory() && !entry.isFile()) continue;
      const full = join(root, inside);
      const stats = await lstat(full, { bigint: true });
      if (entry.isDirectory()) {
        if (Number(stats.dev) === device) pending.push(inside);
        continue;
      }
      const wanted = expected.get(inside);
      expected.delete(inside);
      if (wanted === undefined) {
        if (!(PLACEHOLDERS.has(inside) && stats.size === 0n)) added.push(inside);
        continue;
      }
      const sameMode = (Number(stats.mode) & 0o7777) === wanted.mode;
      const sameSize = stats.size === BigInt(wanted.size);
      if (!sameMode || !sameSize || (await sha256(full, stats, cache)) !== wanted.sha256)
        changed.push(inside);
    }
  }
  return { changed: changed.sort(), missing: [...expected.keys()].sort(), added: added.sort() };
}

async function sha256(
  path: string,
  stats: { readonly dev: bigint; readonly ino: bigint; readonly size: bigint; readonly ctimeNs: bigint },
  cache: HashCache,
): Promise<string> {
  // The change time can't be set back by utimes; whoever can set the machine's clock is root, and named in the docs.
  const key = `${stats.dev}:${stats.ino}:${stats.size}:${stats.ctimeNs}`;
  const known = cache.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  const digest = hash.digest('hex');
  cache.set(key, digest);
  return digest;
}
