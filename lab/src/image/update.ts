import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mustKallio } from '@kallio/e2e/kallio';
import { must } from '@kallio/e2e/process';
import { cached, keyOf } from '../cache.ts';
import type { Boot } from '../machine/qemu.ts';
import type { Say } from '../say.ts';
import type { Image } from './image.ts';
import { makeInitrd } from './initrd.ts';
import { otherKernel } from './kernel.ts';
import { imageFile, installModules } from './root.ts';

/** Another kernel for machines that boot an image: what is installed on them, and what they then boot. */
export interface KernelUpdate extends Boot {
  readonly release: string;
  /** A tar file, compressed, of what comes into the root file system: the kernel's modules. */
  readonly package: string;
  /** What IMA may measure of them, scanned from the very files: a file of reference values. */
  readonly references: string;
}

/** The update of a machine to another stock kernel: its modules, and an initrd with those that it needs first. */
export async function kernelUpdate(installed: Image, say: Say): Promise<KernelUpdate> {
  const kernel = await otherKernel(say);
  const own = await Promise.all(
    (await readdir(import.meta.dirname)).map((name) => readFile(join(import.meta.dirname, name))),
  );
  const folder = await cached('update', keyOf(installed.root, kernel.image, ...own), say, async (work) => {
    const root = join(work, 'root');
    await must('cp', ['--archive', '--reflink=auto', installed.root, root], { timeoutMs: 300_000 });
    await installModules(kernel, root);
    const files = { init: imageFile('initrd-init'), imaPolicy: imageFile('ima-policy') };
    await makeInitrd({ ...files, root, release: kernel.release }, work, join(work, 'initrd.img'));
    // Where they lie is not through a link: what unpacks them would put a folder in its place.
    const modules = join('usr/lib/modules', kernel.release);
    const content = join(work, 'content');
    await mkdir(join(content, modules, '..'), { recursive: true });
    await rename(join(root, modules), join(content, modules));
    await rm(root, { recursive: true });
    await must('tar', ['-C', content, '-czf', join(work, 'package.tar.gz'), modules]);
    const sources = [content, join(work, 'initrd')];
    await mustKallio([
      ...['reference', 'scan', ...sources, '--as', 'root', '--all'],
      ...['--out', join(work, 'references.json')],
    ]);
  });
  return {
    release: kernel.release,
    kernel: kernel.image,
    initrd: join(folder, 'initrd.img'),
    commandLine: installed.commandLine,
    package: join(folder, 'package.tar.gz'),
    references: join(folder, 'references.json'),
  };
}
