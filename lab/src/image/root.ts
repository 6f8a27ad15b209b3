import { chmod, copyFile, cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installKallio } from '@kallio/cli/bundle';
import { must } from '@kallio/e2e/process';
import type { Kernel } from './kernel.ts';

export const EXAMPLE = fileURLToPath(new URL('../../../examples/sensor-gateway/', import.meta.url));
const FILES = fileURLToPath(new URL('../../image/', import.meta.url));

/** Owner of Kallio's sources: IMA measures what is read of a file of this user, as it can't see what an interpreter runs. */
const KALLIO_USER = 990;

/** A file of the lab's that goes into the image. */
export function imageFile(name: string): string {
  return join(FILES, name);
}

/** Installs a kernel's modules in a root file system. */
export async function installModules({ modules, release }: Kernel, root: string): Promise<void> {
  await mkdir(join(root, 'lib/modules'), { recursive: true });
  await cp(modules, join(root, 'lib/modules', release), { recursive: true });
  // The index of what needs what is made where a kernel is installed.
  await must('chroot', [root, 'depmod', release]);
}

/** Makes the root file system of a machine, as a folder. */
export async function makeRoot(
  parts: { readonly base: string; readonly kernel: Kernel },
  root: string,
): Promise<void> {
  const { base, kernel } = parts;
  await must('cp', ['--archive', '--reflink=auto', base, root], { timeoutMs: 300_000 });
  const at = (path: string) => join(root, path);

  await installModules(kernel, root);

  await copyFile(process.execPath, at('usr/local/bin/node'));
  await installKallio(at('opt/kallio'));
  await must('chown', ['-hR', `${KALLIO_USER}:${KALLIO_USER}`, at('opt/kallio')]);
  await writeFile(
    at('usr/local/bin/kallio'),
    '#!/bin/sh\nexec /usr/local/bin/node /opt/kallio/lib/main.js "$@"\n',
  );
  await chmod(at('usr/local/bin/kallio'), 0o755);

  await mkdir(at('usr/lib/kallio-lab'), { recursive: true });
  for (const script of ['boot', 'exec', 'agent', 'shutdown']) {
    await copyFile(imageFile(script), at(`usr/lib/kallio-lab/${script}`));
    await chmod(at(`usr/lib/kallio-lab/${script}`), 0o755);
  }
  await copyFile(imageFile('inittab'), at('etc/inittab'));
  await rm(at('sbin/init'), { force: true });
  await symlink('/bin/busybox', at('sbin/init'));
  await copyFile(imageFile('containers.conf'), at('etc/containers/containers.conf'));
  await writeFile(at('etc/hosts'), '127.0.0.1 localhost\n');
  await writeFile(at('etc/resolv.conf'), '');
  await writeFile(at('etc/hostname'), 'lab\n');
  await cp(EXAMPLE, at('usr/share/kallio-lab/sensor-gateway'), { recursive: true });

  // What the agent itself writes and the engine executes has to be there when reference values are scanned.
  await mkdir(at('var/lib/kallio'), { recursive: true, mode: 0o700 });
  await must('chroot', [
    root,
    '/usr/local/bin/kallio',
    'agent',
    'install-shim',
    '--state-dir',
    '/var/lib/kallio',
  ]);
}
