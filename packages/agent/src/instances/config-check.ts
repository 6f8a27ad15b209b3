import { decodeShape } from '@kallio/codec';
import type { ImageConfigClaims } from '@kallio/oci';
import { Type } from 'typebox';
import { agentError } from '../error.ts';

const Strings = Type.Array(Type.String());
const CapabilitySets = Type.Object({
  bounding: Type.Optional(Strings),
  effective: Type.Optional(Strings),
  inheritable: Type.Optional(Strings),
  permitted: Type.Optional(Strings),
  ambient: Type.Optional(Strings),
});

/** What is judged of a runtime configuration (OCI runtime specification 1.1, config.json). */
const RuntimeConfig = Type.Object({
  process: Type.Object({
    user: Type.Object({ uid: Type.Integer(), gid: Type.Integer() }),
    args: Type.Array(Type.String(), { minItems: 1 }),
    env: Type.Optional(Strings),
    cwd: Type.String(),
    capabilities: Type.Optional(CapabilitySets),
  }),
  root: Type.Object({ path: Type.String() }),
  mounts: Type.Array(
    Type.Object({
      destination: Type.String(),
      type: Type.Optional(Type.String()),
      source: Type.Optional(Type.String()),
      options: Type.Optional(Strings),
    }),
  ),
  hooks: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  linux: Type.Object({
    namespaces: Type.Array(Type.Object({ type: Type.String(), path: Type.Optional(Type.String()) })),
    devices: Type.Optional(Type.Array(Type.Object({ path: Type.String() }))),
    maskedPaths: Type.Optional(Strings),
    readonlyPaths: Type.Optional(Strings),
  }),
});

/** Where a container's engine keeps what it may mount into it. */
export interface Confinement {
  /** The container's own folders of the engine; binds come from these only. */
  readonly ownFolders: readonly string[];
  /** The root file systems of the engine's storage lie below this. */
  readonly rootsBelow: string;
}

/** podman's default capabilities (containers-common): a signed image gets no more. */
const CAPABILITIES: ReadonlySet<string> = new Set([
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
]);
const NAMESPACES = ['pid', 'network', 'ipc', 'uts', 'mount'] as const;
/** Mounts that engines make, and what may stand there. */
const KERNEL_MOUNTS: ReadonlyMap<string, string> = new Map([
  ['/proc', 'proc'],
  ['/dev', 'tmpfs'],
  ['/sys', 'sysfs'],
  ['/dev/pts', 'devpts'],
  ['/dev/mqueue', 'mqueue'],
  ['/sys/fs/cgroup', 'cgroup'],
]);
const BINDS: ReadonlySet<string> = new Set([
  '/etc/hosts',
  '/etc/hostname',
  '/etc/resolv.conf',
  '/dev/shm',
  '/run/.containerenv',
]);
/** Variables that engines add to what the image says. */
const ENGINE_VARIABLES: ReadonlySet<string> = new Set(['TERM', 'container', 'HOSTNAME', 'HOME']);
/** What engines set where an image says no PATH. Another one would choose other programs. */
const ENGINE_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Paths that must be hidden or read-only: through them a process reaches the machine. */
const MASKED = ['/proc/kcore', '/proc/keys', '/sys/firmware'];
const READ_ONLY = ['/proc/sys', '/proc/sysrq-trigger'];

/** Throws unless the runtime is asked to run what the signed image says, and no more than that. */
export function checkRuntimeConfig(
  document: unknown,
  image: ImageConfigClaims,
  confinement: Confinement,
): { readonly root: string } {
  const config = decodeShape(RuntimeConfig, document, 'INSTANCE_CONFIG_SHAPE', 'The runtime configuration');
  checkProcess(config.process, image);

  // Attack: code of the attacker's choice, run by the runtime outside the container.
  if (Object.values(config.hooks ?? {}).some((hooks) => !Array.isArray(hooks) || hooks.length > 0)) {
    throw agentError(
      'INSTANCE_CONFIG_HOOK',
      'The configuration has hooks: they would run outside the container.',
      {
        pointer: '/hooks',
      },
    );
  }
  const { namespaces, devices, maskedPaths, readonlyPaths } = config.linux;
  for (const type of NAMESPACES) {
    const namespace = namespaces.find((one) => one.type === type);
    // Attack: a namespace shared with the machine or with another container. The network's is made by the engine.
    const shared =
      namespace?.path !== undefined && !(type === 'network' && namespace.path.startsWith('/run/netns/'));
    if (namespace === undefined || shared) {
      throw agentError(
        'INSTANCE_CONFIG_NAMESPACE',
        `The configuration gives no ${type} namespace of the instance’s own.`,
        {
          pointer: '/linux/namespaces',
        },
      );
    }
  }
  // Attack: the machine's disk or memory as a device.
  const [device] = devices ?? [];
  if (device !== undefined) {
    throw agentError('INSTANCE_CONFIG_DEVICE', `The configuration hands over the device ${device.path}.`, {
      pointer: '/linux/devices',
    });
  }
  // Attack: a privileged container, in which these are not hidden.
  const exposed = [
    ...MASKED.filter((path) => maskedPaths?.includes(path) !== true),
    ...READ_ONLY.filter((path) => readonlyPaths?.includes(path) !== true),
  ];
  if (exposed.length > 0) {
    throw agentError('INSTANCE_CONFIG_MASKED_PATH', `The configuration leaves ${exposed.join(', ')} open.`, {
      pointer: '/linux/maskedPaths',
    });
  }
  for (const [index, mount] of config.mounts.entries()) checkMount(mount, index, confinement);
  // Attack: a root that is not the one that was unpacked from the image.
  if (!isBelow(config.root.path, confinement.rootsBelow)) {
    throw agentError('INSTANCE_CONFIG_ROOT', 'The root file system does not lie in the engine’s storage.', {
      pointer: '/root/path',
    });
  }
  return { root: config.root.path };
}

type Process = {
  readonly user: { readonly uid: number; readonly gid: number };
  readonly args: readonly string[];
  readonly env?: readonly string[];
  readonly cwd: string;
  readonly capabilities?: Readonly<Record<string, readonly string[]>>;
};

function checkProcess(process: Process, image: ImageConfigClaims): void {
  const args = [...image.entrypoint, ...image.command];
  // Attack: a signed image, told to run something else that lies in it (a shell, an interpreter).
  if (JSON.stringify(process.args) !== JSON.stringify(args)) {
    throw agentError('INSTANCE_CONFIG_ARGUMENTS', 'The command line is not the signed image’s.', {
      pointer: '/process/args',
    });
  }
  const cwd = image.workingDirectory === '' ? '/' : image.workingDirectory;
  if (process.cwd !== cwd) {
    throw agentError('INSTANCE_CONFIG_ARGUMENTS', 'The working directory is not the signed image’s.', {
      pointer: '/process/cwd',
    });
  }
  checkEnvironment(process.env ?? [], image);
  const [uid, gid] = image.user.split(':');
  // Attack: an image made to run as a user, run as root. A user given by name is not resolved here: it must not be root.
  const numeric = /^\d+$/.test(uid ?? '');
  const wrongUser = numeric
    ? process.user.uid !== Number(uid)
    : image.user !== '' && process.user.uid === 0 && uid !== 'root';
  const wrongGroup = /^\d+$/.test(gid ?? '') && process.user.gid !== Number(gid);
  if (wrongUser || wrongGroup) {
    throw agentError('INSTANCE_CONFIG_USER', 'The user is not the signed image’s.', {
      pointer: '/process/user',
    });
  }
  for (const [set, names] of Object.entries(process.capabilities ?? {})) {
    const extra = names.find((name) => !CAPABILITIES.has(name));
    if (extra !== undefined) {
      throw agentError('INSTANCE_CONFIG_CAPABILITY', `The configuration grants ${extra}.`, {
        pointer: `/process/capabilities/${set}`,
      });
    }
  }
}

function checkEnvironment(env: readonly string[], image: ImageConfigClaims): void {
  const signed = new Set(image.environment);
  for (const variable of signed) {
    // Attack: a setting of the image (a proxy, a verification flag) quietly left out or changed.
    if (!env.includes(variable)) {
      throw agentError(
        'INSTANCE_CONFIG_ENVIRONMENT',
        `The image’s variable ${nameOf(variable)} is missing or changed.`,
        {
          pointer: '/process/env',
        },
      );
    }
  }
  for (const variable of env) {
    // Attack: LD_PRELOAD and its kin run foreign code in approved programs; so nothing foreign is let in at all.
    const engines = variable === ENGINE_PATH || ENGINE_VARIABLES.has(nameOf(variable));
    if (!signed.has(variable) && !engines) {
      throw agentError(
        'INSTANCE_CONFIG_ENVIRONMENT',
        `The variable ${nameOf(variable)} is not the signed image’s.`,
        {
          pointer: '/process/env',
        },
      );
    }
  }
  const names = env.map(nameOf);
  if (new Set(names).size !== names.length) {
    throw agentError('INSTANCE_CONFIG_ENVIRONMENT', 'A variable is set twice.', { pointer: '/process/env' });
  }
}

function nameOf(variable: string): string {
  return variable.split('=', 1)[0] ?? '';
}

interface Mount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
}

function checkMount(mount: Mount, index: number, { ownFolders }: Confinement): void {
  const kernel = KERNEL_MOUNTS.get(mount.destination);
  if (kernel !== undefined && mount.type === kernel) return;
  const { source } = mount;
  const own = source !== undefined && ownFolders.some((folder) => isBelow(source, folder));
  // Attack: a file or folder of the machine put over the image's code, or the machine's own root handed in.
  if (mount.type === 'bind' && own && BINDS.has(mount.destination)) return;
  throw agentError('INSTANCE_CONFIG_MOUNT', `The configuration mounts something over ${mount.destination}.`, {
    pointer: `/mounts/${index}`,
  });
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`) && !path.split('/').includes('..');
}
