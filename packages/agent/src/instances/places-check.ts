import { lstat, readFile, realpath, stat } from 'node:fs/promises';
import { agentError } from '../error.ts';
import type { Approved } from './config-check.ts';

/** Throws unless the paths of an approved configuration are on disk what they seem to be. */
export async function checkPlaces({ root, sources, network }: Approved): Promise<void> {
  // Attack: a link in the path, to be turned elsewhere once this has looked.
  if ((await realpath(root)) !== root) {
    throw agentError('INSTANCE_CONFIG_ROOT', 'A link leads to the root file system.', {
      pointer: '/root/path',
    });
  }
  // Attack: other programs mounted over an empty folder of the root, where its files are compared by file system.
  const [over] = mountsBelow(root, await readFile('/proc/self/mountinfo', 'utf8'));
  if (over !== undefined) {
    throw agentError('INSTANCE_CONFIG_ROOT', `Something is mounted at ${over}, in the root file system.`, {
      pointer: '/root/path',
    });
  }
  for (const source of sources) {
    // Attack: the engine's own file for the container is a link, and the machine's root is bound.
    const stats = await lstat(source);
    const kind = source.endsWith('/shm') ? stats.isDirectory() : stats.isFile();
    if (!kind || (await realpath(source)) !== source) {
      throw agentError('INSTANCE_CONFIG_MOUNT', `${source} is not the engine’s own file.`, {
        pointer: '/mounts',
      });
    }
  }
  // Attack: the machine's own network, under a name of the engine's.
  if (network === undefined) return;
  const [given, own] = await Promise.all([
    stat(network, { bigint: true }),
    stat('/proc/self/ns/net', { bigint: true }),
  ]);
  if (given.ino === own.ino && given.dev === own.dev) {
    throw agentError('INSTANCE_CONFIG_NAMESPACE', 'The network namespace is the machine’s own.', {
      pointer: '/linux/namespaces',
    });
  }
}

/** Mount points below a folder (proc(5), mountinfo). */
function mountsBelow(folder: string, mountinfo: string): string[] {
  return mountinfo
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => byte(octal)))
    .filter((point) => point.startsWith(`${folder}/`));
}

function byte(octal: string): string {
  return String.fromCharCode(Number.parseInt(octal, 8));
}
