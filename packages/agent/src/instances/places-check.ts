import { lstat, readFile, realpath, stat } from 'node:fs/promises';
import { type AgentCode, agentError } from '../error.ts';
import type { Approved } from './config-check.ts';
import { type MountedAt, parseMountTable } from './mount-table.ts';

/** Below an engine's storage: a folder for each container. */
const CONTAINERS = '/overlay-containers/';

/** Throws unless the paths of an approved configuration are on disk what they seem to be. */
export async function checkPlaces({
  root,
  sources,
  network,
}: Pick<Approved, 'root' | 'sources' | 'network'>): Promise<void> {
  await checkRootPath(root);
  const mounts = parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
  checkMountTable(mounts, root, sources);
  for (const source of sources) await checkSource(source);
  if (network !== undefined) await checkNetwork(network);
}

async function checkRootPath(root: string): Promise<void> {
  // Attack: a link in the path, to be turned elsewhere once this has looked.
  if ((await looking(realpath(root), 'INSTANCE_CONFIG_ROOT', '/root/path', root)) !== root) {
    throw agentError('INSTANCE_CONFIG_ROOT', 'A link leads to the root file system.', {
      pointer: '/root/path',
    });
  }
}

/**
 * Throws where something that the configuration does not name is mounted into the root file system, or in the place of
 * what the engine mounts for an instance.
 */
export function checkMountTable(
  mounts: readonly MountedAt[],
  root: string,
  sources: readonly string[],
): void {
  // Attack: other programs mounted over an empty folder of the root, where its files are compared by file system.
  const over = mounts.find(({ point }) => point.startsWith(`${root}/`));
  if (over !== undefined) {
    throw agentError(
      'INSTANCE_CONFIG_ROOT',
      `Something is mounted at ${over.point}, in the root file system.`,
      {
        pointer: '/root/path',
      },
    );
  }
  for (const source of sources) {
    const folder = `${source.slice(0, source.indexOf(CONTAINERS))}${CONTAINERS}`;
    const here = mounts.filter(({ point }) => point === source);
    const above = mounts.some(
      ({ point }) => `${point}/`.startsWith(folder) && source.startsWith(`${point}/`),
    );
    const most = isShm(source) ? 1 : 0;
    const good = !above && here.length <= most && here.every((one) => isOwnShm(one, mounts));
    // Attack: a file or folder of the machine mounted over the engine's own, and so handed in.
    if (!good) throw notOwn(source);
  }
}

/** A tmpfs of its own, not a second mount of one that the machine uses elsewhere. */
function isOwnShm({ device, root, point, type }: MountedAt, mounts: readonly MountedAt[]): boolean {
  const tail = point.slice(point.indexOf(CONTAINERS));
  return (
    type === 'tmpfs' &&
    root === '/' &&
    mounts.every((other) => other.device !== device || other.point.endsWith(tail))
  );
}

async function checkSource(source: string): Promise<void> {
  const looked = <T>(at: Promise<T>) => looking(at, 'INSTANCE_CONFIG_MOUNT', '/mounts', source);
  const stats = await looked(lstat(source));
  // Attack: the engine's own file for the container is a link, symbolic or hard, and a file of the machine is handed in.
  const own = isShm(source) ? stats.isDirectory() : stats.isFile() && stats.nlink === 1;
  if (!own || (await looked(realpath(source))) !== source) throw notOwn(source);
}

async function checkNetwork(network: string): Promise<void> {
  const pointer = '/linux/namespaces';
  const given = await looking(stat(network, { bigint: true }), 'INSTANCE_CONFIG_NAMESPACE', pointer, network);
  const own = await stat('/proc/self/ns/net', { bigint: true });
  // Attack: the machine's own network, under a name of the engine's.
  if (given.ino === own.ino && given.dev === own.dev) {
    throw agentError('INSTANCE_CONFIG_NAMESPACE', 'The network namespace is the machine’s own.', { pointer });
  }
}

function isShm(source: string): boolean {
  return source.endsWith('/shm');
}

function notOwn(source: string) {
  return agentError('INSTANCE_CONFIG_MOUNT', `${source} is not the engine’s own file.`, {
    pointer: '/mounts',
  });
}

/** What is not there, or can't be looked at, is no place to run from. */
async function looking<T>(look: Promise<T>, code: AgentCode, pointer: string, path: string): Promise<T> {
  try {
    return await look;
  } catch (cause) {
    throw agentError(code, `${path} is not there, or can’t be looked at.`, { pointer, cause });
  }
}
