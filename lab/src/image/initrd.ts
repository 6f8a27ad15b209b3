import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { must } from '@kallio/e2e/process';

/**
 * What has to be there before the root file system is: its disk, its file system, and dm-verity for the flavour that has
 * it. What a kernel has built in is no module of it.
 */
const MODULES = ['virtio_pci', 'virtio_blk', 'ext4', 'dm-verity'] as const;

/** The first file system of a machine: a static busybox, a few modules, the IMA policy, and the script that uses them. */
export async function makeInitrd(
  files: {
    readonly init: string;
    readonly imaPolicy: string;
    readonly root: string;
    readonly release: string;
  },
  work: string,
  target: string,
): Promise<void> {
  const { init, imaPolicy, root, release } = files;
  const folder = join(root, 'lib/modules', release);
  const tree = join(work, 'initrd');
  // Modules lie where they lie in the root file system: their reference values are those of that place.
  const modules = join(tree, 'lib/modules', release);
  for (const name of [join(tree, 'bin'), join(tree, 'sbin'), modules]) await mkdir(name, { recursive: true });
  await copyFile(join(root, 'bin/busybox'), join(tree, 'bin/busybox'));
  await copyFile(init, join(tree, 'init'));
  await chmod(join(tree, 'init'), 0o755);
  await copyFile(imaPolicy, join(tree, 'ima-policy'));

  const order: string[] = [];
  for (const path of await modulesNeeded(folder)) {
    await copyFile(join(folder, path), join(modules, basename(path)));
    order.push(`/lib/modules/${release}/${basename(path)}`);
  }
  await writeFile(join(tree, 'modules'), `${order.join('\n')}\n`);

  const dmsetup = '/sbin/dmsetup';
  await copyFile(join(root, dmsetup), join(tree, dmsetup));
  for (const library of await librariesOf(root, dmsetup)) {
    await mkdir(join(tree, library, '..'), { recursive: true });
    await cp(join(root, library), join(tree, library), { dereference: true });
  }
  // The folder stays: reference values are taken from it.
  await pack(tree, target);
}

/** An initrd like another, but for what `change` does to the folder that it was packed from. */
export async function repackInitrd(
  tree: string,
  target: string,
  change: (tree: string) => Promise<void>,
): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'kallio-initrd-'));
  try {
    await must('cp', ['--archive', `${tree}/.`, work]);
    await change(work);
    await pack(work, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The same bytes whenever the same is packed: sorted, numbered anew, without times. */
async function pack(tree: string, target: string): Promise<void> {
  await must('sh', ['-c', PACK, 'pack', tree, target]);
}

const PACK = `set -e
cd "$1"
find . -exec touch -h -d @0 {} +
find . | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -o -H newc | gzip -n -6 >"$2"`;

/** Files of the modules and of all that they need, in the order in which they are loaded. */
async function modulesNeeded(folder: string): Promise<string[]> {
  const lines = (await readFile(join(folder, 'modules.dep'), 'utf8')).trim().split('\n');
  const needs = new Map(
    lines.map((line) => {
      const [path = '', rest = ''] = line.split(':');
      return [path, rest.trim().split(' ').filter(Boolean)] as const;
    }),
  );
  const order: string[] = [];
  for (const name of MODULES) {
    const path = [...needs.keys()].find((candidate) => basename(candidate) === `${name}.ko`);
    // modules.dep names what a module needs from the nearest to the deepest.
    for (const one of [...(needs.get(path ?? '') ?? []).toReversed(), path]) {
      if (one !== undefined && !order.includes(one)) order.push(one);
    }
  }
  return order;
}

/** The shared libraries that a program of the root file system is linked with, and the loader. */
async function librariesOf(root: string, program: string): Promise<string[]> {
  const listed = await must('chroot', [root, '/usr/bin/ldd', program]);
  return [...listed.matchAll(/(?:=> )?(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
}
