import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Inventory } from '@kallio/evidence';

type Container = Inventory['containers'][number];

/** Where a process's root file system comes from. */
interface RootMount {
  /** Device and folder in it: the same for two processes that have the same root. */
  readonly identity: string;
  /** Overlay's upper folder, or the source of another root mount. */
  readonly path: string;
}

/** Digests of executables, by device, inode, size and change time. */
const digests = new Map<string, string>();
const MAX_DIGESTS = 4096;
/** In place of an executable that this process may not read: a digest that no image holds. */
const HIDDEN = '(hidden)';
const NO_DIGEST = '0'.repeat(64);

/**
 * What runs in containers, as the kernel shows it: every process whose root file system is another than this process's
 * (services with a mount namespace of their own have the machine's root, and are none). Engine and runtime are not
 * asked. With `storage`, only containers whose root lies below that folder.
 */
export async function containersRunning(storage: string | undefined): Promise<Container[]> {
  const own = {
    namespace: await readlink('/proc/self/ns/mnt'),
    root: rootMount(await readFile('/proc/self/mountinfo', 'utf8'))?.identity,
  };
  const found = new Map<string, Container['processes']>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const seen = await inspect(name, own, storage);
    if (seen === undefined) continue;
    const processes = found.get(seen.container) ?? [];
    processes.push(seen.process);
    found.set(seen.container, processes);
  }
  return [...found]
    .map(([container, processes]) => ({ container, processes: processes.sort((a, b) => a.pid - b.pid) }))
    .sort((a, b) => (a.container < b.container ? -1 : 1));
}

async function inspect(
  name: string,
  own: { readonly namespace: string; readonly root: string | undefined },
  storage: string | undefined,
) {
  const proc = join('/proc', name);
  try {
    if ((await readable(readlink(join(proc, 'ns/mnt')))) === own.namespace) return undefined;
    const root = rootMount(await readFile(join(proc, 'mountinfo'), 'utf8'));
    if (root === undefined || root.identity === own.root) return undefined;
    if (storage !== undefined && !root.path.startsWith(`${storage}/`)) return undefined;
    const container = containerOf(await readFile(join(proc, 'cgroup'), 'utf8'), root.path);
    const executable = (await readable(readlink(join(proc, 'exe'))))?.slice(0, 4096);
    const sha256 = await readable(executableDigest(proc));
    return {
      container,
      process: { pid: Number(name), executable: executable ?? HIDDEN, sha256: sha256 ?? NO_DIGEST },
    };
  } catch (error) {
    // A process may end while it is looked at; a kernel thread has no executable.
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** The mount at `/` (proc(5), mountinfo): of overlay the upper folder, otherwise source and root within it. */
function rootMount(mountinfo: string): RootMount | undefined {
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const fields = before?.split(' ') ?? [];
    if (fields[4] !== '/' || after === undefined) continue;
    const [type, source, options] = after.split(' ');
    const upper = type === 'overlay' ? /(?:^|,)upperdir=([^,]+)/.exec(options ?? '')?.[1] : undefined;
    return {
      identity: `${fields[2]}:${fields[3]}`,
      path: upper ?? `${source ?? ''}${fields[3] === '/' ? '' : (fields[3] ?? '')}`,
    };
  }
  return undefined;
}

/** The runtime's container id, from the control group; where there is none to be seen, the root's own name. */
function containerOf(cgroup: string, root: string): string {
  const id = /(?:libpod-|crio-|docker-|cri-containerd-|\/)([0-9a-f]{64})(?:\.scope)?(?:\/|$)/m.exec(
    cgroup,
  )?.[1];
  return id ?? (root.slice(-256) || 'unknown');
}

/** SHA-256 of the executable as mapped: opened through the kernel, so that a path can't be swapped under it. */
async function executableDigest(proc: string): Promise<string> {
  const path = join(proc, 'exe');
  const stats = await stat(path, { bigint: true });
  const key = `${stats.dev}:${stats.ino}:${stats.size}:${stats.ctimeNs}`;
  const known = digests.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  const digest = hash.digest('hex');
  const [oldest] = digests.keys();
  if (digests.size >= MAX_DIGESTS && oldest !== undefined) digests.delete(oldest);
  digests.set(key, digest);
  return digest;
}

/**
 * What the kernel shows of a process to one with fewer capabilities is less: undefined where access is denied. Its root
 * (mountinfo) and control group are shown to everybody, so it does not get out of the inventory by that.
 */
async function readable<T>(reading: Promise<T>): Promise<T | undefined> {
  return reading.catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM'))
      return undefined;
    throw error;
  });
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH');
}
