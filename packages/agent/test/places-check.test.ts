import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KallioError } from '@kallio/codec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseMountTable } from '../src/instances/mount-table.ts';
import { checkMountTable, checkPlaces } from '../src/instances/places-check.ts';

async function codeOf(act: () => unknown): Promise<string | undefined> {
  try {
    await act();
    return undefined;
  } catch (error) {
    if (error instanceof KallioError) return error.code;
    throw error;
  }
}

const ROOT = '/var/lib/containers/storage/overlay/0123/merged';
const OWN = '/var/lib/containers/storage/overlay-containers/4567/userdata';
const SHM = `${OWN}/shm`;
const SOURCES = [`${OWN}/hosts`, SHM];
/** What the kernel shows of a machine with one container, and no more. */
const HONEST = [
  '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw',
  '30 27 0:24 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw',
  '42 27 254:0 /var/lib/containers/storage/overlay /var/lib/containers/storage/overlay rw - ext4 /dev/vda rw',
  `43 27 0:39 / ${SHM} rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=64000k`,
  `44 42 0:40 / ${ROOT} rw,relatime - overlay overlay rw,lowerdir=/l1:/l2`,
];

describe('the kernel’s mount table', () => {
  const judged = (...more: string[]) =>
    codeOf(() => checkMountTable(parseMountTable(`${[...HONEST, ...more].join('\n')}\n`), ROOT, SOURCES));

  it('of a machine that runs the instance as it should passes', async () => {
    expect(await judged()).toBeUndefined();
    // Something of its own elsewhere, also beside the root under a longer name, and next to the container’s folder.
    expect(await judged(`45 27 8:1 / ${ROOT}-other rw - ext4 /dev/sda1 rw`)).toBeUndefined();
    expect(await judged('45 27 8:1 / /mnt/data rw - ext4 /dev/sda1 rw')).toBeUndefined();
    const neighbour = SHM.replace('4567', '4568');
    expect(await judged(`45 27 0:41 / ${neighbour} rw - tmpfs shm rw`)).toBeUndefined();
    // The storage may be visible twice, as where /var itself is a bind.
    expect(await judged(`45 27 0:39 / /sysroot${SHM} rw - tmpfs shm rw`)).toBeUndefined();
  });

  it.each([
    ['a folder', `${ROOT}/opt`],
    ['a folder whose name has a space', `${ROOT}/opt\\040programs`],
    ['a folder whose name has a newline, which begins no line', `${ROOT}/opt\\01227\\0401\\040254:0`],
    ['a folder whose name is a backslash', `${ROOT}/\\134`],
    ['a folder that was deleted since', `${ROOT}/opt//deleted`],
  ])('is refused with something mounted over %s of the root', async (_, point) => {
    expect(await judged(`45 44 8:1 / ${point} rw - ext4 /dev/sda1 rw`)).toBe('INSTANCE_CONFIG_ROOT');
  });

  it.each([
    [
      'a file of the machine, over the engine’s own',
      `45 27 254:0 /etc/shadow ${OWN}/hosts rw - ext4 /dev/vda rw`,
    ],
    ['the container’s folder, another over it', `45 27 254:0 /etc ${OWN} rw - ext4 /dev/vda rw`],
    [
      'all containers’ folders, another over them',
      '45 27 254:0 /x /var/lib/containers/storage/overlay-containers rw - ext4 d rw',
    ],
    ['a second file system over its shared memory', `45 43 254:0 /etc ${SHM} rw - ext4 /dev/vda rw`],
  ])('is refused with %s', async (_, line) => {
    expect(await judged(line)).toBe('INSTANCE_CONFIG_MOUNT');
  });

  it.each([
    ['the machine’s own', `43 27 0:24 / ${SHM} rw - tmpfs tmpfs rw`],
    ['a folder of a tmpfs', `43 27 0:39 /secrets ${SHM} rw - tmpfs shm rw`],
    ['a folder of the disk', `43 27 254:0 /etc ${SHM} rw - ext4 /dev/vda rw`],
  ])('is refused where the shared memory is %s', async (_, line) => {
    const table = HONEST.map((one) => (one.startsWith('43 ') ? line : one)).join('\n');
    expect(await codeOf(() => checkMountTable(parseMountTable(table), ROOT, SOURCES))).toBe(
      'INSTANCE_CONFIG_MOUNT',
    );
  });

  it('is read with any number of optional fields', () => {
    const line = (optional: string) => `43 27 0:39 / /a rw ${optional}- tmpfs shm rw`;
    for (const optional of ['', 'shared:1 ', 'shared:1 master:2 propagate_from:3 unbindable ']) {
      expect(parseMountTable(line(optional))).toEqual([
        { device: '0:39', root: '/', point: '/a', type: 'tmpfs' },
      ]);
    }
  });
});

describe('on disk', () => {
  let dir: string;
  let root: string;
  let own: string;
  const mounted: string[] = [];
  beforeEach(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'kallio-places-')));
    root = join(dir, 'overlay/0123/merged');
    own = join(dir, 'overlay-containers/4567/userdata');
    mkdirSync(join(root, 'opt'), { recursive: true });
    mkdirSync(join(own, 'shm'), { recursive: true });
    writeFileSync(join(own, 'hosts'), '127.0.0.1 localhost\n');
    writeFileSync(join(dir, 'secret'), 'a file of the machine\n');
  });
  afterEach(() => {
    for (const point of mounted.splice(0).reverse()) execFileSync('umount', [point]);
    rmSync(dir, { recursive: true, force: true });
  });
  const mount = (...args: string[]) => {
    execFileSync('mount', args);
    mounted.push(args.at(-1) ?? '');
  };
  const look = (network?: string) =>
    codeOf(() => checkPlaces({ root, sources: [join(own, 'hosts'), join(own, 'shm')], network }));

  it('all that is as it seems passes, the shared memory mounted or not', async () => {
    expect(await look()).toBeUndefined();
    mount('-t', 'tmpfs', 'shm', join(own, 'shm'));
    expect(await look()).toBeUndefined();
  });

  it('a real mount over a folder of the root is refused, whatever its name', async () => {
    for (const name of ['opt', 'with space', 'line\nbreak', 'back\\slash', 'ääni']) {
      mkdirSync(join(root, name), { recursive: true });
      mount('-t', 'tmpfs', 'over', join(root, name));
      expect(await look(), name).toBe('INSTANCE_CONFIG_ROOT');
      execFileSync('umount', [mounted.pop() ?? '']);
      expect(await look(), name).toBeUndefined();
    }
  });

  it('a real mount of the machine’s shared memory in the place of the engine’s is refused', async () => {
    mount('--bind', '/dev/shm', join(own, 'shm'));
    expect(await look()).toBe('INSTANCE_CONFIG_MOUNT');
  });

  it('a link on the way to the root is refused', async () => {
    const real = join(dir, 'overlay/9999');
    mkdirSync(join(real, 'merged'), { recursive: true });
    rmSync(join(dir, 'overlay/0123'), { recursive: true });
    symlinkSync(real, join(dir, 'overlay/0123'));
    expect(await look()).toBe('INSTANCE_CONFIG_ROOT');
    root = join(real, 'merged');
    expect(await look()).toBeUndefined();
  });

  it('a root that is not there is refused, by name', async () => {
    rmSync(root, { recursive: true });
    expect(await look()).toBe('INSTANCE_CONFIG_ROOT');
  });

  it.each<[string, (hosts: string, secret: string) => void]>([
    ['a symbolic link to a file of the machine', (hosts, secret) => symlinkSync(secret, hosts)],
    ['a hard link to a file of the machine', (hosts, secret) => linkSync(secret, hosts)],
    ['a folder', (hosts) => mkdirSync(hosts)],
    ['a pipe', (hosts) => void execFileSync('mkfifo', [hosts])],
    ['not there', () => undefined],
  ])('the engine’s own file is refused where it is %s', async (_, put) => {
    const hosts = join(own, 'hosts');
    rmSync(hosts);
    put(hosts, join(dir, 'secret'));
    expect(await look()).toBe('INSTANCE_CONFIG_MOUNT');
    rmSync(hosts, { recursive: true, force: true });
    writeFileSync(hosts, '');
    expect(await look()).toBeUndefined();
  });

  it('a link on the way to the engine’s own files is refused', async () => {
    const elsewhere = join(dir, 'elsewhere');
    execFileSync('mv', [own, elsewhere]);
    symlinkSync(elsewhere, own);
    expect(await look()).toBe('INSTANCE_CONFIG_MOUNT');
  });

  it('a network of the instance’s own passes; the machine’s does not, under whatever name', async () => {
    const network = join(dir, 'netns-1');
    writeFileSync(network, '');
    execFileSync('unshare', [`--net=${network}`, 'true']);
    mounted.push(network);
    expect(await look(network)).toBeUndefined();

    const machines = join(dir, 'netns-2');
    writeFileSync(machines, '');
    mount('--bind', '/proc/self/ns/net', machines);
    expect(await look(machines)).toBe('INSTANCE_CONFIG_NAMESPACE');
    const link = join(dir, 'netns-3');
    symlinkSync('/proc/self/ns/net', link);
    expect(await look(link)).toBe('INSTANCE_CONFIG_NAMESPACE');
    expect(await look(join(dir, 'netns-4'))).toBe('INSTANCE_CONFIG_NAMESPACE');
  });
});
