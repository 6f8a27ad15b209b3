import { agentError } from '../error.ts';
import type { Confinement } from './config-check.ts';
import type { RuntimeConfig } from './runtime-config.ts';

type Mount = RuntimeConfig['mounts'][number];

/** A mount that engines make: what it must be, and what it may be. */
interface KernelMount {
  readonly type: string;
  readonly must: readonly string[];
  readonly may: RegExp;
}

const KERNEL_MOUNTS: ReadonlyMap<string, KernelMount> = new Map([
  ['/proc', { type: 'proc', must: ['nosuid', 'noexec', 'nodev'], may: /^(?:relatime|rprivate|private)$/ }],
  [
    '/dev',
    {
      type: 'tmpfs',
      must: ['nosuid', 'noexec'],
      may: /^(?:strictatime|mode=755|size=\d+k|rprivate|private)$/,
    },
  ],
  [
    '/sys',
    { type: 'sysfs', must: ['nosuid', 'noexec', 'nodev', 'ro'], may: /^(?:relatime|rprivate|private)$/ },
  ],
  [
    '/dev/pts',
    {
      type: 'devpts',
      must: ['nosuid', 'noexec', 'newinstance'],
      may: /^(?:ptmxmode=0666|mode=0620|gid=5|rprivate|private)$/,
    },
  ],
  [
    '/dev/mqueue',
    { type: 'mqueue', must: ['nosuid', 'noexec', 'nodev'], may: /^(?:relatime|rprivate|private)$/ },
  ],
  [
    '/sys/fs/cgroup',
    { type: 'cgroup', must: ['nosuid', 'noexec', 'nodev', 'ro'], may: /^(?:relatime|rprivate|private)$/ },
  ],
]);

/** Files that engines write for each container, by where they are mounted: their names in the container's own folder. */
const OWN_FILES: ReadonlyMap<string, string> = new Map([
  ['/etc/hosts', 'hosts'],
  ['/etc/hostname', 'hostname'],
  ['/etc/resolv.conf', 'resolv.conf'],
  ['/dev/shm', 'shm'],
  ['/run/.containerenv', '.containerenv'],
]);
const BIND_OPTIONS = /^(?:bind|rprivate|private|ro|nosuid|noexec|nodev|relatime)$/;

/** Throws unless every mount is one that the engine makes for itself; gives the sources of binds. */
export function checkMounts(mounts: readonly Mount[], confinement: Confinement): string[] {
  const sources: string[] = [];
  const taken = new Set<string>();
  for (const [index, mount] of mounts.entries()) {
    const pointer = `/mounts/${index}`;
    // Attack: a second mount at the same place, over the honest one.
    if (taken.has(mount.destination)) throw refused(mount, pointer);
    taken.add(mount.destination);
    const kernel = KERNEL_MOUNTS.get(mount.destination);
    if (kernel === undefined) sources.push(ownFile(mount, pointer, confinement));
    else checkKernelMount(mount, pointer, kernel);
  }
  return sources;
}

function checkKernelMount(mount: Mount, pointer: string, { type, must, may }: KernelMount): void {
  if (mount.type !== type) throw refused(mount, pointer);
  const options = mount.options ?? [];
  // Attack: `bind` among the options makes a bind of any type: the machine's /dev as the instance's. `shared` lets
  // mounts out. A writable /sys or control group lets the instance's root have the kernel run what it likes.
  const extra = options.find((option) => !must.includes(option) && !may.test(option));
  const missing = must.find((option) => !options.includes(option));
  if (extra === undefined && missing === undefined) return;
  throw agentError(
    'INSTANCE_CONFIG_MOUNT',
    `The configuration mounts ${mount.destination} ${extra === undefined ? `without ${missing}` : `with ${extra}`}.`,
    { pointer: `${pointer}/options` },
  );
}

function ownFile(mount: Mount, pointer: string, { storage, runRoot, container }: Confinement): string {
  const name = OWN_FILES.get(mount.destination);
  const own = [storage, runRoot].map(
    (folder) => `${folder}/overlay-containers/${container}/userdata/${name}`,
  );
  // Attack: a file or folder of the machine put over the image's code, or the machine's own root handed in.
  if (name === undefined || mount.type !== 'bind' || !own.includes(mount.source ?? '')) {
    throw refused(mount, pointer);
  }
  // Attack: `rbind` brings what else is mounted below, `shared` lets mounts out onto the machine.
  const options = mount.options ?? [];
  const wrong = options.find((option) => !BIND_OPTIONS.test(option));
  if (wrong !== undefined || !options.includes('bind')) {
    throw agentError(
      'INSTANCE_CONFIG_MOUNT',
      `The configuration mounts ${mount.destination} ${wrong === undefined ? 'without bind' : `with ${wrong}`}.`,
      { pointer: `${pointer}/options` },
    );
  }
  return mount.source ?? '';
}

function refused({ destination }: Mount, pointer: string) {
  return agentError('INSTANCE_CONFIG_MOUNT', `The configuration mounts something over ${destination}.`, {
    pointer,
  });
}
