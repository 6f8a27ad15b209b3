import { parseJson } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import type { AgentCode } from '../src/error.ts';
import { checkRuntimeConfig } from '../src/instances/config-check.ts';
import type { RuntimeConfig } from '../src/instances/runtime-config.ts';
import { CLAIMS, CONFINEMENT, CONTAINER, type Editable, honestConfig } from './support/honest-config.ts';

type Config = Editable<RuntimeConfig>;
type Mount = Config['mounts'][number];

const OWN = `/run/containers/storage/overlay-containers/${CONTAINER}/userdata`;

function check(config: unknown, claims = CLAIMS) {
  return checkRuntimeConfig(config, claims, CONFINEMENT);
}

function mountAt(config: Config, destination: string): Mount {
  const mount = config.mounts.find((one) => one.destination === destination);
  if (mount === undefined) throw new Error(`there is no mount at ${destination}`);
  return mount;
}

/** Sets a field that the schema doesn't have. */
function put(target: object, name: string, value: unknown): void {
  Object.assign(target, { [name]: value });
}

interface Attack {
  readonly name: string;
  readonly code: AgentCode;
  readonly pointer: string;
  readonly edit: (config: Config) => void;
}

/** Mounts of the honest configuration, by their place in it. */
const PLACES = honestConfig().mounts.map(({ destination }) => destination);
const placeOf = (destination: string) => `/mounts/${PLACES.indexOf(destination)}`;
const NEW_PLACE = `/mounts/${PLACES.length}`;

function options(destination: string, change: (options: string[]) => string[], name: string): Attack {
  return {
    name: `${destination}: ${name}`,
    code: 'INSTANCE_CONFIG_MOUNT',
    pointer: `${placeOf(destination)}/options`,
    edit: (config) => {
      const mount = mountAt(config, destination);
      mount.options = change(mount.options ?? []);
    },
  };
}

function addedMount(name: string, mount: Mount): Attack {
  return {
    name,
    code: 'INSTANCE_CONFIG_MOUNT',
    pointer: NEW_PLACE,
    edit: ({ mounts }) => mounts.push(mount),
  };
}

function wrongSource(name: string, destination: string, source: string): Attack {
  return {
    name,
    code: 'INSTANCE_CONFIG_MOUNT',
    pointer: placeOf(destination),
    edit: (config) => {
      mountAt(config, destination).source = source;
    },
  };
}

function of(code: AgentCode, pointer: string) {
  return (name: string, edit: (config: Config) => void): Attack => ({ name, code, pointer, edit });
}

const args = of('INSTANCE_CONFIG_ARGUMENTS', '/process/args');
const env = of('INSTANCE_CONFIG_ENVIRONMENT', '/process/env');
const user = of('INSTANCE_CONFIG_USER', '/process/user');
const shape = (pointer: string) => of('INSTANCE_CONFIG_SHAPE', pointer);
const namespaces = of('INSTANCE_CONFIG_NAMESPACE', '/linux/namespaces');
const masked = of('INSTANCE_CONFIG_MASKED_PATH', '/linux/maskedPaths');
const readOnly = of('INSTANCE_CONFIG_MASKED_PATH', '/linux/readonlyPaths');
const root = of('INSTANCE_CONFIG_ROOT', '/root/path');
const deviceRules = of('INSTANCE_CONFIG_DEVICE', '/linux/resources/devices');
const annotations = of('INSTANCE_CONFIG_ANNOTATION', '/annotations');
const cgroup = of('INSTANCE_CONFIG_RESOURCES', '/linux/cgroupsPath');
const sysctl = of('INSTANCE_CONFIG_RESOURCES', '/linux/sysctl');
const seccomp = (field = '') => of('INSTANCE_CONFIG_SECCOMP', `/linux/seccomp${field}`);

function filter({ linux }: Config) {
  if (linux.seccomp === undefined) throw new Error('there is no filter');
  return linux.seccomp;
}

const WHAT_RUNS: readonly Attack[] = [
  args('another program', ({ process }) => {
    process.args = ['/bin/busybox', 'sh', '-c', 'id'];
  }),
  args('a shell appended', ({ process }) => process.args.push(';', '/bin/sh')),
  args('one argument split in two', ({ process }) => {
    process.args = process.args.flatMap((one) => (one === '/srv/www' ? ['/srv', '/www'] : [one]));
  }),
  args('arguments left out', ({ process }) => process.args.pop()),
  shape('/process/args')('no arguments at all', ({ process }) => {
    process.args = [];
  }),
  of('INSTANCE_CONFIG_ARGUMENTS', '/process/cwd')('another working directory', ({ process }) => {
    process.cwd = '/srv';
  }),
  of('INSTANCE_CONFIG_ARGUMENTS', '/process/cwd')(
    'the machine’s root as working directory',
    ({ process }) => {
      process.cwd = '/proc/self/fd/7';
    },
  ),
  of('INSTANCE_CONFIG_ARGUMENTS', '/process/terminal')('a terminal to type into', ({ process }) => {
    process.terminal = true;
  }),
  env('LD_PRELOAD', ({ process }) => process.env?.push('LD_PRELOAD=/data/evil.so')),
  env('LD_PRELOAD without a value', ({ process }) => process.env?.push('LD_PRELOAD')),
  env('LD_LIBRARY_PATH', ({ process }) => process.env?.push('LD_LIBRARY_PATH=/data')),
  env('a proxy', ({ process }) => process.env?.push('http_proxy=http://203.0.113.1')),
  env('a variable smuggled behind a zero byte', ({ process }) => {
    process.env = (process.env ?? []).map((one) =>
      one === 'container=podman' ? `${one}\0LD_PRELOAD=/x` : one,
    );
  }),
  env('a variable of the image left out', ({ process }) => {
    process.env = (process.env ?? []).filter((one) => one !== 'DATA=/data');
  }),
  env('a variable of the image changed', ({ process }) => {
    process.env = (process.env ?? []).map((one) => (one === 'DATA=/data' ? 'DATA=/tmp' : one));
  }),
  env('a variable of the image set again', ({ process }) => process.env?.push('DATA=/tmp')),
  env('a variable of the engine set twice', ({ process }) => process.env?.push('TERM=xterm')),
  env('no variables', ({ process }) => {
    delete process.env;
  }),
  env('another PATH', ({ process }) => {
    process.env = (process.env ?? []).map((one) => (one.startsWith('PATH=') ? 'PATH=/data' : one));
  }),
  env('a TERM that is a path', ({ process }) => {
    process.env = (process.env ?? []).map((one) => (one.startsWith('TERM=') ? 'TERM=../../data/evil' : one));
  }),
  env('a HOME that is no absolute path', ({ process }) => process.env?.push('HOME=data')),
  user('root instead of 1000', (config) => {
    config.process.user.uid = 0;
  }),
  user('another user', (config) => {
    config.process.user.uid = 1001;
  }),
  user('root’s group', (config) => {
    config.process.user.gid = 0;
  }),
  of('INSTANCE_CONFIG_USER', '/process/user/umask')('files open to everybody', (config) => {
    config.process.user.umask = 0;
  }),
  of('INSTANCE_CONFIG_HOOK', '/hooks')('a hook', (config) => {
    config.hooks = { prestart: [{ path: '/bin/sh' }] };
  }),
  of('INSTANCE_CONFIG_HOOK', '/hooks')('a hook that is no list', (config) => {
    config.hooks = { createRuntime: { path: '/bin/sh' } };
  }),
  annotations('another handler of crun’s', (config) =>
    put(config.annotations ?? {}, 'run.oci.handler', 'wasm'),
  ),
  annotations('a filter as an annotation', (config) =>
    put(config.annotations ?? {}, 'run.oci.seccomp_bpf_data', 'AAAA'),
  ),
  annotations('a property of the systemd unit', (config) =>
    put(config.annotations ?? {}, 'org.systemd.property.DevicePolicy', "'auto'"),
  ),
  annotations('a sandbox to run in', (config) =>
    put(config.annotations ?? {}, 'io.kubernetes.cri-o.SandboxID', 'x'),
  ),
];

const UNKNOWN_FIELDS: readonly Attack[] = [
  shape('/Process')('a second process, spelt as only Go reads it', (config) =>
    put(config, 'Process', { ...config.process, args: ['/bin/sh'] }),
  ),
  shape('/hookſ')('hooks, spelt as only Go reads them', (config) =>
    put(config, 'hookſ', { prestart: [{ path: '/bin/sh' }] }),
  ),
  shape('/process/Args')('arguments, spelt as only Go reads them', ({ process }) =>
    put(process, 'Args', ['/bin/sh']),
  ),
  shape('/root/PATH')('a root, spelt as only Go reads it', (config) => put(config.root, 'PATH', '/')),
  shape('/mounts/0/uidMappings')('a mount with mapped ids', ({ mounts }) =>
    put(mounts[0] ?? {}, 'uidMappings', []),
  ),
  shape('/vm')('a virtual machine', (config) => put(config, 'vm', { kernel: { path: '/evil' } })),
  shape('/domainname')('a file system in a host’s domain', (config) => put(config, 'domainname', 'evil')),
  shape('/linux/personality')('another personality: addresses that can be foretold', ({ linux }) =>
    put(linux, 'personality', { domain: 'LINUX', flags: ['ADDR_NO_RANDOMIZE'] }),
  ),
  shape('/linux/timeOffsets')('another time', ({ linux }) =>
    put(linux, 'timeOffsets', { boottime: { secs: -100 } }),
  ),
  shape('/linux/netDevices')('the machine’s network card', ({ linux }) =>
    put(linux, 'netDevices', { eth0: {} }),
  ),
  shape('/linux/intelRdt')('a class of cache', ({ linux }) => put(linux, 'intelRdt', { closID: '../..' })),
  shape('/process/scheduler')('a real-time schedule', ({ process }) =>
    put(process, 'scheduler', { policy: 'SCHED_FIFO' }),
  ),
  shape('/linux/resources/unified')('any file of the control group', ({ linux }) =>
    put(linux.resources ?? {}, 'unified', { 'cgroup.procs': '1' }),
  ),
  shape('/process/user/uid')('a user id that wraps round to 0', (config) => {
    config.process.user.uid = 2 ** 32;
  }),
];

const PRIVILEGES: readonly Attack[] = [
  of('INSTANCE_CONFIG_CAPABILITY', '/process/capabilities/bounding')('one capability more', ({ process }) =>
    process.capabilities?.bounding?.push('CAP_SYS_ADMIN'),
  ),
  of('INSTANCE_CONFIG_CAPABILITY', '/process/capabilities/effective')(
    'capabilities of root’s, in force for a user',
    ({ process }) => put(process.capabilities ?? {}, 'effective', ['CAP_NET_RAW']),
  ),
  of('INSTANCE_CONFIG_CAPABILITY', '/process/capabilities/ambient')('ambient ones', ({ process }) =>
    put(process.capabilities ?? {}, 'ambient', ['CAP_DAC_OVERRIDE']),
  ),
  of('INSTANCE_CONFIG_CAPABILITY', '/process/capabilities/inheritable')('inheritable ones', ({ process }) =>
    put(process.capabilities ?? {}, 'inheritable', ['CAP_DAC_OVERRIDE']),
  ),
  of('INSTANCE_CONFIG_LABEL', '/process/apparmorProfile')('no AppArmor', ({ process }) => {
    process.apparmorProfile = 'unconfined';
  }),
  of('INSTANCE_CONFIG_LABEL', '/process/selinuxLabel')('a domain that may do more', ({ process }) => {
    process.selinuxLabel = 'system_u:system_r:spc_t:s0';
  }),
  of('INSTANCE_CONFIG_LABEL', '/linux/mountLabel')('a label of other files', ({ linux }) => {
    linux.mountLabel = 'system_u:object_r:etc_t:s0';
  }),
  of('INSTANCE_CONFIG_RESOURCES', '/process/rlimits')('no file longer than nothing', ({ process }) =>
    process.rlimits?.push({ type: 'RLIMIT_FSIZE', hard: 0, soft: 0 }),
  ),
  of('INSTANCE_CONFIG_RESOURCES', '/process/oomScoreAdj')('never ended for want of memory', ({ process }) => {
    process.oomScoreAdj = -1000;
  }),
  sysctl('a core pattern', ({ linux }) => {
    linux.sysctl = { 'kernel.core_pattern': '|/evil' };
  }),
  sysctl('forwarding', ({ linux }) => {
    linux.sysctl = { 'net.ipv4.ip_forward': '1' };
  }),
  cgroup('the root of all control groups', ({ linux }) => {
    linux.cgroupsPath = '/';
  }),
  cgroup('no control group', ({ linux }) => {
    delete linux.cgroupsPath;
  }),
  cgroup('another instance’s control group', ({ linux }) => {
    linux.cgroupsPath = `/libpod_parent/libpod-${'a'.repeat(64)}`;
  }),
  cgroup('a control group in another instance’s', ({ linux }) => {
    linux.cgroupsPath = `/libpod_parent/libpod-${'a'.repeat(64)}/libpod-${CONTAINER}`;
  }),
  seccomp()('no filter', ({ linux }) => {
    delete linux.seccomp;
  }),
  seccomp()('a filter that lets everything through', (config) => {
    filter(config).defaultAction = 'SCMP_ACT_ALLOW';
  }),
  seccomp('/syscalls/0')('a call that loads another kernel', (config) => {
    filter(config).syscalls.unshift({ names: ['kexec_load'], action: 'SCMP_ACT_ALLOW' });
  }),
  seccomp('/listenerPath')('another process that answers', (config) => {
    filter(config).listenerPath = '/run/evil.sock';
  }),
  seccomp('/syscalls/0')('a call handed to another process', (config) => {
    filter(config).syscalls.unshift({ names: ['openat'], action: 'SCMP_ACT_NOTIFY' });
  }),
  seccomp('/syscalls/0')('a call that only says that it succeeded', (config) => {
    filter(config).syscalls.unshift({ names: ['setuid'], action: 'SCMP_ACT_ERRNO', errnoRet: 0 });
  }),
  seccomp('/defaultErrnoRet')('calls that only say that they succeeded', (config) => {
    filter(config).defaultErrnoRet = 0;
  }),
  seccomp('/syscalls')('privileges that can’t be given up', (config) => {
    filter(config).syscalls.push({ names: ['setuid'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 });
  }),
];

const REACH: readonly Attack[] = [
  ...['pid', 'network', 'ipc', 'uts', 'mount'].map((type) =>
    namespaces(`no ${type} namespace`, ({ linux }) => {
      linux.namespaces = linux.namespaces.filter((one) => one.type !== type);
    }),
  ),
  ...['pid', 'ipc', 'uts', 'mount'].map((type) =>
    namespaces(`the machine’s ${type} namespace`, ({ linux }) => {
      linux.namespaces = linux.namespaces.map((one) =>
        one.type === type ? { type, path: `/proc/1/ns/${type}` } : one,
      );
    }),
  ),
  ...['/proc/1/ns/net', '/run/netns/../../proc/1/ns/net', '/run/netns/', '/var/run/netns/x'].map((path) =>
    namespaces(`the network of ${path}`, ({ linux }) => {
      linux.namespaces = linux.namespaces.map((one) =>
        one.type === 'network' ? { type: 'network', path } : one,
      );
    }),
  ),
  namespaces('a pid namespace again, the machine’s', ({ linux }) =>
    linux.namespaces.push({ type: 'pid', path: '/proc/1/ns/pid' }),
  ),
  namespaces('a pid namespace twice', ({ linux }) => linux.namespaces.push({ type: 'pid' })),
  namespaces('a user namespace', ({ linux }) => linux.namespaces.push({ type: 'user' })),
  namespaces('a time namespace', ({ linux }) => linux.namespaces.push({ type: 'time' })),
  namespaces('the machine’s control groups', ({ linux }) =>
    linux.namespaces.push({ type: 'cgroup', path: '/proc/1/ns/cgroup' }),
  ),
  namespaces('mapped users', ({ linux }) => {
    linux.uidMappings = [{ containerID: 1000, hostID: 0, size: 1 }];
  }),
  of('INSTANCE_CONFIG_DEVICE', '/linux/devices')('the machine’s disk', ({ linux }) => {
    linux.devices = [{ path: '/dev/sda', type: 'b', major: 8, minor: 0 }];
  }),
  deviceRules('any device may be opened', ({ linux }) =>
    linux.resources?.devices?.push({ allow: true, access: 'rwm' }),
  ),
  deviceRules('the disk may be opened', ({ linux }) =>
    linux.resources?.devices?.push({ allow: true, type: 'b', major: 8, minor: 0, access: 'rw' }),
  ),
  deviceRules('no rule', ({ linux }) => {
    delete linux.resources?.devices;
  }),
  deviceRules('a rule that denies little', ({ linux }) => {
    put(linux.resources ?? {}, 'devices', [{ allow: false, type: 'c', access: 'rwm' }]);
  }),
  masked('nothing masked', ({ linux }) => {
    linux.maskedPaths = [];
  }),
  ...['/proc/kcore', '/proc/keys', '/sys/firmware', '/proc/acpi', '/proc/scsi'].map((path) =>
    masked(`${path} open`, ({ linux }) => {
      linux.maskedPaths = linux.maskedPaths?.filter((one) => one !== path) ?? [];
    }),
  ),
  ...['/proc/sys', '/proc/sysrq-trigger', '/proc/irq', '/proc/bus', '/proc/fs'].map((path) =>
    readOnly(`${path} writable`, ({ linux }) => {
      linux.readonlyPaths = linux.readonlyPaths?.filter((one) => one !== path) ?? [];
    }),
  ),
  readOnly('nothing read-only', ({ linux }) => {
    delete linux.readonlyPaths;
  }),
  masked('a file of the image hidden', ({ linux }) => linux.maskedPaths?.push('/srv/www/index.html')),
  masked('a file of the image hidden by ..', ({ linux }) => linux.maskedPaths?.push('/proc/../srv/www')),
  of('INSTANCE_CONFIG_MOUNT', '/linux/rootfsPropagation')('mounts that get out', ({ linux }) => {
    linux.rootfsPropagation = 'shared';
  }),
];

const FILES: readonly Attack[] = [
  root('the machine’s root', (config) => {
    config.root.path = '/';
  }),
  root('a folder of the attacker’s', (config) => {
    config.root.path = '/srv/evil';
  }),
  root('a folder beside the storage', (config) => {
    config.root.path = config.root.path.replace('/storage/', '/storage-evil/');
  }),
  root('a way out by ..', (config) => {
    config.root.path = '/var/lib/containers/storage/overlay/../../../../../srv/merged';
  }),
  root('a layer in place of the merged root', (config) => {
    config.root.path = config.root.path.replace('/merged', '/diff');
  }),
  root('a folder below the root', (config) => {
    config.root.path += '/data';
  }),
  root('a relative path', (config) => {
    config.root.path = 'rootfs';
  }),
  addedMount('a file of the machine', {
    destination: '/etc/shadow',
    type: 'bind',
    source: '/etc/shadow',
    options: ['bind'],
  }),
  addedMount('the machine’s root', { destination: '/host', type: 'bind', source: '/', options: ['rbind'] }),
  addedMount('other programs over /bin', {
    destination: '/bin',
    type: 'bind',
    source: '/srv/evil',
    options: ['bind'],
  }),
  addedMount('other programs over /bin, from the container’s own folder', {
    destination: '/bin',
    type: 'bind',
    source: `${OWN}/evil`,
    options: ['bind'],
  }),
  addedMount('an empty /srv/www', { destination: '/srv/www', type: 'tmpfs', source: 'tmpfs', options: [] }),
  addedMount('an overlay', {
    destination: '/srv',
    type: 'overlay',
    source: 'overlay',
    options: ['lowerdir=/srv/evil'],
  }),
  addedMount('the machine’s processes', {
    destination: '/proc/1',
    type: 'bind',
    source: '/proc/1',
    options: ['bind'],
  }),
  addedMount('/proc again, over the masked one', {
    destination: '/proc',
    type: 'proc',
    source: 'proc',
    options: ['nosuid', 'noexec', 'nodev'],
  }),
  addedMount('another spelling of a place that is known', {
    destination: '/etc/../bin',
    type: 'bind',
    source: `${OWN}/hosts`,
    options: ['bind'],
  }),
  ...['/proc', '/dev', '/sys', '/sys/fs/cgroup'].map(
    (destination): Attack => ({
      name: `${destination}: the machine’s own, as a bind`,
      code: 'INSTANCE_CONFIG_MOUNT',
      pointer: placeOf(destination),
      edit: (config) =>
        Object.assign(mountAt(config, destination), {
          type: 'bind',
          source: destination,
          options: ['rbind'],
        }),
    }),
  ),
  options('/proc', (all) => [...all, 'bind'], 'a bind under the name of proc'),
  options('/dev', (all) => [...all, 'rbind'], 'a bind under the name of tmpfs'),
  options('/sys', (all) => all.map((one) => (one === 'ro' ? 'rw' : one)), 'writable'),
  options('/sys', (all) => all.filter((one) => one !== 'ro'), 'not read-only'),
  options('/sys', (all) => [...all, 'rw'], 'writable after all'),
  options('/sys/fs/cgroup', (all) => all.filter((one) => one !== 'ro'), 'not read-only'),
  options('/dev', (all) => [...all, 'rshared'], 'mounts that get out'),
  options('/dev', (all) => all.filter((one) => one !== 'nosuid'), 'set-user-id programs'),
  options('/dev/pts', (all) => all.filter((one) => one !== 'newinstance'), 'the machine’s terminals'),
  options('/dev/shm', () => ['rbind', 'rprivate'], 'with all that is mounted below'),
  options('/dev/shm', (all) => [...all, 'rshared'], 'mounts that get out'),
  options('/etc/hosts', () => [], 'no bind at all'),
  wrongSource('the machine’s secrets as /etc/hosts', '/etc/hosts', '/etc/shadow'),
  wrongSource('a way out of the own folder by ..', '/etc/hosts', `${OWN}/../../../../../../etc/shadow`),
  wrongSource('another file of the own folder', '/etc/hosts', `${OWN}/config.json`),
  wrongSource('another container’s folder', '/dev/shm', OWN.replace(CONTAINER, 'a'.repeat(64))),
  wrongSource('a folder beside the own one', '/dev/shm', `${OWN}-evil/shm`),
  wrongSource('a relative source', '/etc/hosts', 'hosts'),
];

const GROUPS: Readonly<Record<string, readonly Attack[]>> = {
  'what runs': WHAT_RUNS,
  'fields that nobody looks at': UNKNOWN_FIELDS,
  privileges: PRIVILEGES,
  'the reach to the machine': REACH,
  files: FILES,
};

describe('the runtime configuration that podman writes for a signed image', () => {
  it('passes, and says what is left to be checked on disk', () => {
    const config = honestConfig();
    expect(check(config)).toEqual({
      root: config.root.path,
      network: config.linux.namespaces.find(({ type }) => type === 'network')?.path,
      sources: [
        ...['hostname', 'resolv.conf', 'hosts'].map((name) => `${OWN}/${name}`),
        `/var/lib/containers/storage/overlay-containers/${CONTAINER}/userdata/shm`,
        `${OWN}/.containerenv`,
      ],
      user: config.process.user,
      home: undefined,
    });
  });

  it('passes with what podman writes on other machines', () => {
    const config = honestConfig();
    config.linux.namespaces.push({ type: 'cgroup' });
    config.linux.cgroupsPath = `machine.slice:libpod:${CONTAINER}`;
    config.linux.sysctl = { 'net.ipv4.ping_group_range': '0 0' };
    config.process.apparmorProfile = 'containers-default-0.50.1';
    config.process.selinuxLabel = 'system_u:system_r:container_t:s0:c1,c2';
    config.linux.mountLabel = 'system_u:object_r:container_file_t:s0:c1,c2';
    config.process.noNewPrivileges = true;
    config.root.readonly = true;
    config.hooks = { prestart: [] };
    config.process.env?.push('HOME=/home/app');
    expect(check(config).home).toBe('/home/app');
  });

  it('passes for an image that runs as root, with root’s capabilities in force', () => {
    const config = honestConfig();
    Object.assign(config.process.user, { uid: 0, gid: 0, additionalGids: [0] });
    const { capabilities } = config.process;
    Object.assign(capabilities ?? {}, {
      effective: capabilities?.bounding,
      permitted: capabilities?.bounding,
    });
    for (const name of ['', 'root', '0', '0:0']) check(config, { ...CLAIMS, user: name });
    expect(() => check(config, { ...CLAIMS, user: 'app' })).toThrow(
      expect.objectContaining({ code: 'INSTANCE_CONFIG_USER' }),
    );
  });

  it('is refused as another user where the image says none', () => {
    const config = honestConfig();
    expect(() => check(config, { ...CLAIMS, user: '' })).toThrow(
      expect.objectContaining({ code: 'INSTANCE_CONFIG_USER', pointer: '/process/user' }),
    );
    check(config);
  });

  it('is judged with the variables of the image that win over the engine’s', () => {
    const environment = [...CLAIMS.environment, 'HOME=/srv'];
    const config = honestConfig();
    config.process.env?.push('HOME=/srv');
    expect(check(config, { ...CLAIMS, environment }).home).toBeUndefined();
  });

  it('is refused with one key twice, of which each reader may take another', () => {
    const text = JSON.stringify(honestConfig());
    const twice = text.replace('"cwd":"/data"', '"cwd":"/data","cwd":"/"');
    expect(() => check(parseJson(twice))).toThrow(expect.objectContaining({ code: 'JSON_DUPLICATE_KEY' }));
    check(parseJson(text));
  });
});

describe.each(Object.entries(GROUPS))('an attack on %s', (_name, attacks) => {
  it.each(attacks)('$name', ({ edit, code, pointer }) => {
    const config = honestConfig();
    check(config);
    edit(config);
    expect(() => check(config)).toThrow(expect.objectContaining({ name: 'KallioError', code, pointer }));
  });
});
