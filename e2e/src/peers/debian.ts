import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { run } from '../site/process.ts';

/** What was fetched stays here: in this checkout, never in the system. */
const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/debian-peers', import.meta.url));
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Debian releases that have programs which this machine's own doesn't. */
export type Suite = 'trixie' | 'sid';

/** Programs of a Debian package, where they were unpacked, and which version it packages; or why they could not be had. */
export type Peer =
  | {
      readonly name: string;
      readonly root: string;
      /** Most of its programs. */
      readonly bin: string;
      readonly version: string;
      readonly missing?: undefined;
    }
  | { readonly name: string; readonly missing: string };

/**
 * Fetches a package of another Debian release and unpacks it beside the system: apt with a package list, state and
 * cache of its own, so that nothing is installed and this machine's package lists stay as they are. apt checks the
 * archive's signature. Where the mirrors don't answer, `missing` says why: a test skips then, by name. Packages that it is
 * of no use without are unpacked beside it.
 */
export async function debianPeer(suite: Suite, name: string, others: readonly string[] = []): Promise<Peer> {
  const title = `${name} of Debian ${suite}`;
  const root = join(CACHE, suite, name);
  const bin = join(root, 'usr', 'bin');
  if (existsSync(bin)) return { name: title, root, bin, version: await versionOf(root, name) };
  const work = await workFolder(suite);
  try {
    const apt = aptWith(work);
    for (const args of [['update'], ['download', name, ...others]]) {
      const done = await run('apt-get', [...apt, ...args], { cwd: work, timeoutMs: 150_000 });
      // apt-get update only warns of mirrors that don't answer.
      if (done.code !== 0 || /^(?:W: Failed|Err:)/m.test(done.stderr + done.stdout)) {
        const why = done.stderr.trim().split('\n').at(-1) ?? '';
        return { name: title, missing: `${title} could not be fetched: ${why}` };
      }
    }
    const unpacked = join(work, 'unpacked');
    for (const deb of (await readdir(work)).filter((file) => file.endsWith('.deb'))) {
      const done = await run('dpkg', ['-x', join(work, deb), unpacked]);
      if (done.code !== 0) return { name: title, missing: `${title} could not be unpacked: ${done.stderr}` };
    }
    // Whole or not at all: two runs may fetch at once.
    await rename(unpacked, root).catch((error: unknown) => {
      if (!existsSync(bin)) throw error;
    });
    return { name: title, root, bin, version: await versionOf(root, name) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** As the package's own changelog has it, without Debian's revision: a program built by Debian calls itself "devel". */
async function versionOf(root: string, name: string): Promise<string> {
  const docs = join(root, 'usr/share/doc', name);
  const file = (await readdir(docs)).find((one) => /^changelog\.Debian.*\.gz$/.test(one)) ?? 'changelog.gz';
  const log = gunzipSync(await readFile(join(docs, file))).toString();
  const [, version] = /^\S+ \((?:\d+:)?([^)]+?)(?:-[^-)]+)?\) /.exec(log) ?? [];
  if (version === undefined) throw new Error(`the changelog of ${name} names no version`);
  return version;
}

async function workFolder(suite: Suite): Promise<string> {
  await mkdir(join(CACHE, suite), { recursive: true });
  const work = await mkdtemp(join(CACHE, 'fetch-'));
  for (const folder of ['state', 'lists/partial', 'cache/archives/partial']) {
    await mkdir(join(work, folder), { recursive: true });
  }
  const signedBy = existsSync(KEYRING) ? ` [signed-by=${KEYRING}]` : '';
  await writeFile(join(work, 'sources.list'), `deb${signedBy} http://deb.debian.org/debian ${suite} main\n`);
  return work;
}

function aptWith(work: string): string[] {
  const settings = {
    'Dir::Etc::sourcelist': join(work, 'sources.list'),
    'Dir::Etc::sourceparts': '-',
    'Dir::State': join(work, 'state'),
    'Dir::State::lists': join(work, 'lists'),
    'Dir::Cache': join(work, 'cache'),
    'Acquire::Languages': 'none',
    'Acquire::Retries': '0',
    'Acquire::http::Timeout': '10',
    // The folder is its maker's alone.
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}
