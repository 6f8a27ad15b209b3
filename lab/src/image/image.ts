import { mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kallioDigest } from '@kallio/cli/bundle';
import { mustKallio } from '@kallio/e2e/kallio';
import { must } from '@kallio/e2e/process';
import { cached, keyOf } from '../cache.ts';
import { type Say, told } from '../say.ts';
import { debianBase } from './base.ts';
import { makeInitrd } from './initrd.ts';
import { currentKernel, type Kernel } from './kernel.ts';
import { imageFile, makeRoot } from './root.ts';

/** `plain`: a root that can be written, watched by IMA (tier B). `verity`: one that can't be changed unseen (tier A). */
export type Flavour = 'plain' | 'verity';

/** What a machine boots. */
export interface Image {
  readonly flavour: Flavour;
  /** The root file system as a folder. */
  readonly root: string;
  /** What IMA may measure, scanned from the very root file system and initrd: `kallio policy merge` takes it. */
  readonly references: string;
  readonly release: string;
  readonly kernel: string;
  readonly initrd: string;
  /** What the initrd was packed from. */
  readonly initrdTree: string;
  readonly commandLine: string;
  /** The root disk, raw; a machine writes to a layer of its own above it. */
  readonly disk: string;
  /** What is at `/var`, where the root can't be written. */
  readonly varDisk?: string;
}

const BLOCK = 4096;
const PLAIN_BYTES = 3 * 1024 ** 3;
const VAR_BYTES = 2 * 1024 ** 3;
/** Room in a verified root beside its files: for the file system's own tables. */
const SPARE = 1.15;

/** The image of a flavour, built when something that it is made of has changed. */
export async function image(flavour: Flavour, say: Say): Promise<Image> {
  const [base, kernel, kallio] = [await debianBase(say), await currentKernel(say), await kallioDigest()];
  const own = await Promise.all([ownFiles(imageFile('')), ownFiles(import.meta.dirname)]);
  const key = keyOf(base, kernel.image, kallio, process.version, ...own.flat());
  const tree = await cached('root', key, say, async (work) => {
    const root = join(work, 'root');
    await told(say, 'root file system', () => makeRoot({ base, kernel }, root));
    const files = { init: imageFile('initrd-init'), imaPolicy: imageFile('ima-policy') };
    await told(say, 'initrd', () =>
      makeInitrd({ ...files, root, release: kernel.release }, work, join(work, 'initrd.img')),
    );
  });
  const disks = await cached(flavour, key, say, (work) =>
    flavour === 'plain' ? plainDisk(join(tree, 'root'), work) : verityDisk(join(tree, 'root'), work),
  );
  const scanned = await cached('references', key, say, async (work) => {
    const sources = [join(tree, 'root'), join(tree, 'initrd')];
    // Every file: what is read of Kallio is measured too, and is not executed.
    await mustKallio(['reference', 'scan', ...sources, '--all', '--out', join(work, 'references.json')]);
  });
  return {
    flavour,
    root: join(tree, 'root'),
    references: join(scanned, 'references.json'),
    initrdTree: join(tree, 'initrd'),
    ...bootOf(kernel, join(tree, 'initrd.img'), await readFile(join(disks, 'root-argument'), 'utf8')),
    disk: join(disks, 'root.img'),
    ...(flavour === 'verity' ? { varDisk: join(disks, 'var.img') } : {}),
  };
}

/** What is measured of a kernel's start, beside the firmware. */
function bootOf(
  kernel: Kernel,
  initrd: string,
  root: string,
): Pick<Image, 'release' | 'kernel' | 'initrd' | 'commandLine'> {
  return {
    release: kernel.release,
    kernel: kernel.image,
    initrd,
    commandLine: `console=ttyS0 quiet panic=-1 ima_template=ima-ng kallio.root=${root}`,
  };
}

async function plainDisk(root: string, work: string): Promise<void> {
  await fileSystem(root, join(work, 'root.img'), PLAIN_BYTES);
  await writeFile(join(work, 'root-argument'), 'plain');
}

/** The root and its hash tree on one disk, `/var` on another: what changes is no part of what is verified. */
async function verityDisk(tree: string, work: string): Promise<void> {
  const root = join(work, 'root');
  const file = join(work, 'root.img');
  await must('cp', ['--archive', '--reflink=auto', tree, root], { timeoutMs: 300_000 });
  await rename(join(root, 'var'), join(work, 'var'));
  await mkdir(join(root, 'var'));
  await fileSystem(join(work, 'var'), join(work, 'var.img'), VAR_BYTES);
  const used = Number((await must('du', ['--summarize', '--block-size=1', root])).split('\t')[0]);
  const blocks = Math.ceil((used * SPARE) / BLOCK);
  await fileSystem(root, file, blocks * BLOCK);
  for (const path of [root, join(work, 'var')]) await rm(path, { recursive: true });
  const printed = await must('veritysetup', [
    ...[
      'format',
      '--no-superblock',
      '--salt=-',
      `--data-blocks=${blocks}`,
      `--hash-offset=${blocks * BLOCK}`,
    ],
    ...[file, file],
  ]);
  const hash = /Root hash:\s+([0-9a-f]{64})/.exec(printed)?.[1];
  if (hash === undefined) throw new Error(`veritysetup printed no root hash:\n${printed}`);
  // A disk's size is in whole sectors of 512 bytes; the tree's last block may end anywhere.
  await truncate(file, Math.ceil((await stat(file)).size / BLOCK) * BLOCK);
  await writeFile(join(work, 'root-argument'), `verity:${blocks}:${hash}`);
}

async function fileSystem(tree: string, file: string, bytes: number): Promise<void> {
  await writeFile(file, '');
  await truncate(file, bytes);
  await must('mke2fs', ['-q', '-t', 'ext4', '-b', String(BLOCK), '-m', '0', '-d', tree, file], {
    timeoutMs: 300_000,
  });
}

async function ownFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).sort();
  return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
}
