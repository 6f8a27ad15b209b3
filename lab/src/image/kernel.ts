import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '@kallio/e2e/process';
import { cached, keyOf } from '../cache.ts';
import type { Say } from '../say.ts';

/** A stock kernel of Debian's. */
export interface Kernel {
  /** As `uname -r` gives it. */
  readonly release: string;
  /** The EFI stub image. */
  readonly image: string;
  /** The folder `lib/modules/RELEASE`. */
  readonly modules: string;
}

/** The kernel that Debian's cloud flavour stands for now. */
export async function currentKernel(say: Say): Promise<Kernel> {
  return kernelOf(await currentName(), say);
}

/** Another stock kernel of the same release of Debian: the newest of those that it offers beside the current one. */
export async function otherKernel(say: Say): Promise<Kernel> {
  const current = await currentName();
  const names = (await must('apt-cache', ['pkgnames', 'linux-image-'])).split('\n');
  const others = names
    .filter((name) => /^linux-image-\d[\d.]*-\d+-(?:cloud|rt)-amd64$/.test(name) && name !== current)
    // The same flavour before the other one.
    .sort((a, b) => Number(/-rt-/.test(a)) - Number(/-rt-/.test(b)) || newestFirst(a, b));
  const [name] = others;
  if (name === undefined) throw new Error('apt knows no second kernel; refresh its lists: apt-get update');
  return kernelOf(name, say);
}

function newestFirst(a: string, b: string): number {
  return b.localeCompare(a, 'en', { numeric: true });
}

async function currentName(): Promise<string> {
  const depends = await must('apt-cache', ['depends', 'linux-image-cloud-amd64']);
  const name = /Depends: (linux-image-\S+-cloud-amd64)/.exec(depends)?.[1];
  if (name === undefined) {
    throw new Error('apt knows no linux-image-cloud-amd64; refresh its lists: apt-get update');
  }
  return name;
}

async function kernelOf(name: string, say: Say): Promise<Kernel> {
  const policy = await must('apt-cache', ['policy', name]);
  const version = /Candidate: (\S+)/.exec(policy)?.[1] ?? '';
  const folder = await cached('kernel', keyOf(name, version), say, async (work) => {
    await must('apt-get', ['download', `${name}=${version}`], { cwd: work, timeoutMs: 300_000 });
    const [file = ''] = await readdir(work);
    await must('dpkg', ['-x', join(work, file), work]);
    await rm(join(work, file));
  });
  const [release = ''] = await readdir(join(folder, 'lib/modules'));
  return {
    release,
    image: join(folder, 'boot', `vmlinuz-${release}`),
    modules: join(folder, 'lib/modules', release),
  };
}
