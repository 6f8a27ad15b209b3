import { decodeShape } from '@kallio/codec';
import type { ImageConfigClaims } from '@kallio/oci';
import { type AgentCode, agentError } from '../error.ts';
import { checkMounts } from './mount-check.ts';
import { RuntimeConfig } from './runtime-config.ts';
import { checkSeccomp } from './seccomp-check.ts';

/** Where a container's engine keeps what it may mount into it. */
export interface Confinement {
  /** The runtime's id of the container. */
  readonly container: string;
  /** The engine's storage: root file systems, and the containers' own folders. */
  readonly storage: string;
  /** The containers' own folders that don't outlive a boot. */
  readonly runRoot: string;
}

/** What of an approved configuration is left to be checked on disk. */
export interface Approved {
  readonly root: string;
  /** Files and folders of the machine that are mounted in. */
  readonly sources: readonly string[];
  /** The network namespace that the engine made. */
  readonly network: string | undefined;
  readonly user: RuntimeConfig['process']['user'];
  /** What `HOME` is set to by the engine. */
  readonly home: string | undefined;
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
const NAMESPACES: ReadonlySet<string> = new Set(['pid', 'network', 'ipc', 'uts', 'mount']);
/** Variables that engines add to what the image says, and what they set them to. */
const ENGINE_VARIABLES: ReadonlyMap<string, RegExp> = new Map([
  ['TERM', /^xterm$/],
  ['container', /^(?:podman|oci)$/],
  ['HOSTNAME', /^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/],
  // Compared with the image's own accounts later.
  ['HOME', /^\//],
  // What engines set where an image says no PATH. Another one would choose other programs.
  ['PATH', /^\/usr\/local\/sbin:\/usr\/local\/bin:\/usr\/sbin:\/usr\/bin:\/sbin:\/bin$/],
]);
/** Paths that must be hidden or read-only: through them a process reaches the machine. */
const MASKED = [
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/scsi',
  '/sys/firmware',
];
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];
/** Limits that podman sets unless told otherwise. */
const RLIMITS: ReadonlySet<string> = new Set(['RLIMIT_NOFILE', 'RLIMIT_NPROC']);
/** What podman, buildah and images write into annotations. Runtimes act on some others. */
const ANNOTATIONS =
  /^(?:kallio\.instance|io\.container\.manager|io\.kubernetes\.cri-o\.(?:Created|TTY)|io\.podman\.annotations\.[a-z-]+|org\.opencontainers\.image\.[A-Za-z.]+)$/;

/** Throws unless the runtime is asked to run what the signed image says, and no more than that. */
export function checkRuntimeConfig(
  document: unknown,
  image: ImageConfigClaims,
  confinement: Confinement,
): Approved {
  const config = decodeShape(RuntimeConfig, document, 'INSTANCE_CONFIG_SHAPE', 'The runtime configuration');
  const { process, linux } = config;
  checkCommand(process, image);
  checkEnvironment(process.env ?? [], image);
  checkUser(process.user, image);
  checkCapabilities(process);
  checkLabels(process, linux);
  checkLimits(process, linux, confinement);
  checkSeccomp(linux.seccomp);

  // Attack: code of the attacker's choice, run by the runtime outside the container.
  if (Object.values(config.hooks ?? {}).some((hooks) => !Array.isArray(hooks) || hooks.length > 0)) {
    throw refused(
      'INSTANCE_CONFIG_HOOK',
      '/hooks',
      'The configuration has hooks: they would run outside the container.',
    );
  }
  // Attack: annotations are orders to some runtimes: another handler, a filter of one's own, properties of the unit.
  const foreign = Object.keys(config.annotations ?? {}).find((name) => !ANNOTATIONS.test(name));
  if (foreign !== undefined) {
    throw refused(
      'INSTANCE_CONFIG_ANNOTATION',
      '/annotations',
      `The annotation ${foreign} is not known here.`,
    );
  }
  const network = checkNamespaces(linux);
  // Attack: the machine's disk or memory as a device.
  if ((linux.devices ?? []).length > 0) {
    throw refused('INSTANCE_CONFIG_DEVICE', '/linux/devices', 'The configuration hands over a device.');
  }
  checkDeviceRules(linux);
  checkHiddenPaths(linux);
  // Attack: mounts made in the container appear on the machine.
  if (linux.rootfsPropagation !== undefined) {
    throw refused(
      'INSTANCE_CONFIG_MOUNT',
      '/linux/rootfsPropagation',
      'The configuration lets mounts out of the container.',
    );
  }
  const sources = checkMounts(config.mounts, confinement);
  const root = config.root.path;
  // Attack: a root that is not the one that was unpacked from the image.
  const layer = root.startsWith(`${confinement.storage}/overlay/`)
    ? root.slice(`${confinement.storage}/overlay/`.length)
    : '';
  if (!/^[0-9a-f]{64}\/merged$/.test(layer)) {
    throw refused(
      'INSTANCE_CONFIG_ROOT',
      '/root/path',
      'The root file system does not lie in the engine’s storage.',
    );
  }
  return { root, sources, network, user: process.user, home: homeOf(process, image) };
}

type Process = RuntimeConfig['process'];
type Linux = RuntimeConfig['linux'];

function checkCommand(process: Process, image: ImageConfigClaims): void {
  const args = [...image.entrypoint, ...image.command];
  // Attack: a signed image, told to run something else that lies in it (a shell, an interpreter).
  if (JSON.stringify(process.args) !== JSON.stringify(args)) {
    throw refused(
      'INSTANCE_CONFIG_ARGUMENTS',
      '/process/args',
      'The command line is not the signed image’s.',
    );
  }
  // Attack: the same program reads its settings, or what it serves, from another folder.
  const cwd = image.workingDirectory === '' ? '/' : image.workingDirectory;
  if (process.cwd !== cwd) {
    throw refused(
      'INSTANCE_CONFIG_ARGUMENTS',
      '/process/cwd',
      'The working directory is not the signed image’s.',
    );
  }
  // Attack: a program that is meant to run by itself is given somebody to talk to.
  if (process.terminal === true) {
    throw refused('INSTANCE_CONFIG_ARGUMENTS', '/process/terminal', 'The configuration asks for a terminal.');
  }
}

function checkEnvironment(env: readonly string[], image: ImageConfigClaims): void {
  const pointer = '/process/env';
  const signed = new Set(image.environment);
  for (const variable of signed) {
    // Attack: a setting of the image (a proxy, a verification flag) quietly left out or changed.
    if (!env.includes(variable)) {
      throw refused(
        'INSTANCE_CONFIG_ENVIRONMENT',
        pointer,
        `The image’s variable ${nameOf(variable)} is missing or changed.`,
      );
    }
  }
  for (const variable of env) {
    // Attack: LD_PRELOAD and its kin run foreign code in approved programs; so nothing foreign is let in at all.
    const name = nameOf(variable);
    const engines = ENGINE_VARIABLES.get(name)?.test(variable.slice(name.length + 1)) === true;
    if (!signed.has(variable) && !engines) {
      throw refused(
        'INSTANCE_CONFIG_ENVIRONMENT',
        pointer,
        `The variable ${name} is not the signed image’s.`,
      );
    }
  }
  const names = env.map(nameOf);
  // Attack: of a variable that stands twice, some programs take the first and some the last.
  if (new Set(names).size !== names.length) {
    throw refused('INSTANCE_CONFIG_ENVIRONMENT', pointer, 'A variable is set twice.');
  }
}

/** Checks what can be said without the image's files; accounts given by name are looked up there later. */
function checkUser({ uid, gid, umask }: Process['user'], image: ImageConfigClaims): void {
  const [user = '', group = ''] = image.user.split(':');
  const number = (text: string) => (/^\d+$/.test(text) ? Number(text) : undefined);
  const wanted = user === '' || user === 'root' ? 0 : number(user);
  // Attack: an image made to run as a user, run as root, or in a group that owns more.
  if ((wanted !== undefined && uid !== wanted) || (wanted === undefined && uid === 0)) {
    throw refused('INSTANCE_CONFIG_USER', '/process/user', 'The user is not the signed image’s.');
  }
  if (number(group) !== undefined && gid !== number(group)) {
    throw refused('INSTANCE_CONFIG_USER', '/process/user', 'The group is not the signed image’s.');
  }
  // Attack: files that the instance writes are open to everybody on the machine.
  if (umask !== undefined && umask !== 0o022) {
    throw refused('INSTANCE_CONFIG_USER', '/process/user/umask', 'The umask is not 022.');
  }
}

function checkCapabilities({ capabilities, user }: Process): void {
  for (const [set, names] of Object.entries(capabilities ?? {})) {
    // Attack: a user who is not root holds root's capabilities all the same; so they are root's only, and inherited by nobody.
    const held = set === 'bounding' || (user.uid === 0 && (set === 'effective' || set === 'permitted'));
    const extra = names.find((name) => !held || !CAPABILITIES.has(name));
    if (extra !== undefined) {
      throw refused(
        'INSTANCE_CONFIG_CAPABILITY',
        `/process/capabilities/${set}`,
        `The configuration grants ${extra}.`,
      );
    }
  }
}

/** Labels of the kernel's security modules. Where a machine has none, the engine gives none. */
function checkLabels({ apparmorProfile, selinuxLabel }: Process, { mountLabel }: Linux): void {
  // Attack: `unconfined`, or the domain of something that may do more.
  const labels = [
    ['/process/apparmorProfile', apparmorProfile, /^containers-default-[0-9.]+$/],
    ['/process/selinuxLabel', selinuxLabel, /^system_u:system_r:container_t:s0:c\d+,c\d+$/],
    ['/linux/mountLabel', mountLabel, /^system_u:object_r:container_file_t:s0:c\d+,c\d+$/],
  ] as const;
  for (const [pointer, label, engines] of labels) {
    if (label !== undefined && !engines.test(label)) {
      throw refused('INSTANCE_CONFIG_LABEL', pointer, `The label ${label} is not one that the engine gives.`);
    }
  }
}

function checkLimits(process: Process, linux: Linux, { container }: Confinement): void {
  const { rlimits, oomScoreAdj } = process;
  // Attack: an approved program made to fail where nobody expects it: no file larger than nothing, no more memory.
  const [limit] = (rlimits ?? []).filter(({ type }) => !RLIMITS.has(type));
  if (limit !== undefined) {
    throw refused('INSTANCE_CONFIG_RESOURCES', '/process/rlimits', `The configuration limits ${limit.type}.`);
  }
  // Attack: the machine's own services are ended for want of memory before this instance is.
  if (oomScoreAdj !== undefined && oomScoreAdj < 0) {
    throw refused(
      'INSTANCE_CONFIG_RESOURCES',
      '/process/oomScoreAdj',
      'The configuration keeps the instance from being ended.',
    );
  }
  // Attack: a setting of the kernel, for the whole machine or for this instance's network.
  const [setting] = Object.entries(linux.sysctl ?? {}).filter(
    ([name, value]) => name !== 'net.ipv4.ping_group_range' || value !== '0 0',
  );
  if (setting !== undefined) {
    throw refused(
      'INSTANCE_CONFIG_RESOURCES',
      '/linux/sysctl',
      `The configuration sets ${setting[0]} in the kernel.`,
    );
  }
  // Attack: the control group is where the kernel says whose a process is: with another one it passes for another instance.
  const groups = [`/libpod_parent/libpod-${container}`, `machine.slice:libpod:${container}`];
  if (!groups.includes(linux.cgroupsPath ?? '')) {
    throw refused(
      'INSTANCE_CONFIG_RESOURCES',
      '/linux/cgroupsPath',
      'The control group is not the container’s own.',
    );
  }
}

/** Gives the path of the network namespace. */
function checkNamespaces({ namespaces, uidMappings, gidMappings }: Linux): string | undefined {
  const given = new Map<string, string | undefined>();
  for (const { type, path } of namespaces) {
    // Attack: a namespace shared with the machine or with another container. The network's is made by the engine.
    const shared = path !== undefined && !(type === 'network' && /^\/run\/netns\/[A-Za-z0-9-]+$/.test(path));
    // Attack: one type twice, of which one is looked at here and the other one is taken by the runtime. And types that
    // nobody asked for: a user namespace changes who root is, a time namespace what time it is.
    if (shared || given.has(type) || !(NAMESPACES.has(type) || type === 'cgroup')) throw wrongNamespace(type);
    given.set(type, path);
  }
  for (const type of NAMESPACES) if (!given.has(type)) throw wrongNamespace(type);
  if (uidMappings !== undefined || gidMappings !== undefined) throw wrongNamespace('user');
  return given.get('network');
}

function wrongNamespace(type: string) {
  return refused(
    'INSTANCE_CONFIG_NAMESPACE',
    '/linux/namespaces',
    `The configuration gives no ${type} namespace of the instance’s own, as the engine does.`,
  );
}

function checkDeviceRules({ resources }: Linux): void {
  const rules = resources?.devices ?? [];
  const all = ({ allow, type = 'a', major = -1, minor = -1, access }: (typeof rules)[number]) =>
    !allow && type === 'a' && major === -1 && minor === -1 && access === 'rwm';
  // Attack: the instance's root makes the machine's disk as a device by itself (CAP_MKNOD), and may open it.
  if (!rules.some(all) || rules.some(({ allow }) => allow)) {
    throw refused(
      'INSTANCE_CONFIG_DEVICE',
      '/linux/resources/devices',
      'The configuration does not deny all devices.',
    );
  }
}

function checkHiddenPaths({ maskedPaths = [], readonlyPaths = [] }: Linux): void {
  // Attack: a privileged container, in which these are not hidden.
  const open =
    MASKED.find((path) => !maskedPaths.includes(path)) ??
    READ_ONLY.find((path) => !readonlyPaths.includes(path) && !maskedPaths.includes(path));
  if (open !== undefined) {
    const pointer = MASKED.includes(open) ? '/linux/maskedPaths' : '/linux/readonlyPaths';
    throw refused('INSTANCE_CONFIG_MASKED_PATH', pointer, `The configuration leaves ${open} open.`);
  }
  // Attack: a file of the image (a list of revoked keys, say) hidden from its program.
  const within = (path: string) => /^\/(?:proc|sys)\/[a-z0-9_/-]+$/.test(path);
  const hidden = [...maskedPaths, ...readonlyPaths].find((path) => !within(path));
  if (hidden !== undefined) {
    const pointer = maskedPaths.includes(hidden) ? '/linux/maskedPaths' : '/linux/readonlyPaths';
    throw refused('INSTANCE_CONFIG_MASKED_PATH', pointer, `The configuration hides ${hidden}.`);
  }
}

function homeOf({ env }: Process, image: ImageConfigClaims): string | undefined {
  const home = env?.find((variable) => nameOf(variable) === 'HOME');
  return home === undefined || image.environment.includes(home) ? undefined : home.slice('HOME='.length);
}

function nameOf(variable: string): string {
  return variable.split('=', 1)[0] ?? '';
}

function refused(code: AgentCode, pointer: string, message: string) {
  return agentError(code, message, { pointer });
}
