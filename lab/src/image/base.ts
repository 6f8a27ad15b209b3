import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '@kallio/e2e/process';
import { cached, keyOf } from '../cache.ts';
import type { Say } from '../say.ts';

const SUITE = 'bookworm';
const MIRROR = process.env.KALLIO_LAB_MIRROR ?? 'http://deb.debian.org/debian';

/** Debian packages of a machine, beside the minimal system. */
const PACKAGES = [
  ...['podman', 'runc', 'conmon', 'buildah', 'netavark', 'aardvark-dns', 'iptables'],
  // The runtime shim asks the agent with curl; kmod loads modules so that IMA measures them; busybox is the init.
  ...['curl', 'kmod', 'busybox-static', 'dmsetup'],
] as const;

/** What a machine has no use for. */
const DROPPED = ['var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/man', 'usr/share/locale'];

/** A minimal Debian 12 with what Kallio needs, as a folder. */
export async function debianBase(say: Say): Promise<string> {
  const folder = await cached('debian', keyOf(SUITE, MIRROR, ...PACKAGES), say, async (work) => {
    const root = join(work, 'root');
    await must('debootstrap', ['--variant=minbase', `--include=${PACKAGES.join(',')}`, SUITE, root, MIRROR], {
      timeoutMs: 900_000,
    });
    for (const path of DROPPED) await rm(join(root, path), { recursive: true, force: true });
  });
  return join(folder, 'root');
}
