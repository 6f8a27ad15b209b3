import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installKallio, installQuick, QUICK } from './install.ts';
import { digestOf, PROJECT, type Source, sourcesOf } from './sources.ts';

/** Two changes of a file within this time may leave it with the same times: the clock of a file system is coarse. */
const SETTLED_MS = 1000;
/** After this time nobody runs a bundle of sources that are gone, in milliseconds. */
const KEPT_MS = 7 * 24 * 3_600_000;

/**
 * Sees to it that `cache` holds a bundle of the sources as they are, and gives its name: their digest. Beside it stands
 * `current`: the program in it, and by `stateOf` what each source is known again by; and for each command that is bundled
 * by itself `current-<command>`, of the sources that it is made of. Undefined where no bundle can be made, as there is no
 * bundler or no place to write: then the sources themselves are what is started.
 *
 * Any number may do this at once: each makes the bundle in a folder of its own, and the first to finish gives it its name.
 */
export async function bundleSources(
  cache: string,
  stateOf: (path: string) => string,
): Promise<string | undefined> {
  const sources = await sourcesOf();
  // Before their content is read: what changes afterwards has another state than was kept.
  const states = sources.map(({ path }) => stateOf(path));
  const settled = (await lastChange(sources)) < Date.now() - SETTLED_MS;
  const digest = await digestOf(sources);
  try {
    await mkdir(cache, { recursive: true });
    if (!(await exists(join(cache, digest)))) {
      await make(cache, digest);
      await prune(cache, digest);
    }
    // COMMIT POINT: the next start takes this bundle. Of sources that are being written it looks at the content again.
    if (settled) {
      await replace(join(cache, 'current'), lines(`${digest}/lib/main.js`, sources, states));
      for (const command of QUICK) await nameQuick(cache, digest, command, sources, states);
    }
  } catch (error) {
    if (isCode(error, 'ERR_MODULE_NOT_FOUND', 'EACCES', 'EROFS', 'EPERM')) return undefined;
    throw error;
  }
  return digest;
}

function lines(program: string, sources: readonly Source[], states: readonly string[]): string {
  return [program, ...sources.map(({ path }, i) => `${states[i]}\t${path}`)].join('\n');
}

/**
 * A command that is bundled by itself stays as it is whatever happens to other sources. It changes with those that were
 * read for it, with the declarations by which they are found, the lock, and what bundles it; never with a file that is new,
 * as nothing is imported that is not named.
 */
async function nameQuick(
  cache: string,
  digest: string,
  command: string,
  sources: readonly Source[],
  states: readonly string[],
): Promise<void> {
  const read = new Set((await readFile(join(cache, digest, 'quick', command, SOURCES), 'utf8')).split('\n'));
  const known = sources
    .map((source, i) => ({ source, state: states[i] ?? '' }))
    .filter(({ source: { path, folder } }) => !folder && (read.has(path) || BUILDING.test(path)));
  const program = `${digest}/quick/${command}/${command}.js`;
  const text = lines(
    program,
    known.map(({ source }) => source),
    known.map(({ state }) => state),
  );
  await replace(join(cache, `current-${command}`), text);
}

const SOURCES = 'sources';
const BUILDING = /\.json$|^packages\/cli\/src\/bundle\//;

async function lastChange(sources: readonly Source[]): Promise<number> {
  const times = await Promise.all(sources.map(async ({ path }) => (await stat(join(PROJECT, path))).ctimeMs));
  return Math.max(...times);
}

async function make(cache: string, digest: string): Promise<void> {
  const own = join(cache, `${digest}.${randomBytes(6).toString('hex')}`);
  try {
    await installKallio(own);
    for (const command of QUICK) {
      const folder = join(own, 'quick', command);
      const read = await installQuick(command, folder);
      await writeFile(join(folder, SOURCES), read.join('\n'));
    }
    await rename(own, join(cache, digest));
  } catch (error) {
    await rm(own, { recursive: true, force: true });
    // Another was quicker: its bundle is of the same sources.
    if (!isCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
  }
}

/** Removes bundles of sources that are long gone. A program that runs from one may still load parts of it. */
async function prune(cache: string, digest: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!/^[0-9a-f]{64}/.test(name) || name === digest) continue;
    const changed = await lastChangeOf(join(cache, name));
    if (changed < Date.now() - KEPT_MS) await rm(join(cache, name), { recursive: true, force: true });
  }
}

/** In milliseconds since 1970. What is gone meanwhile, as another that makes one too has finished it, needs no removal. */
async function lastChangeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return Number.POSITIVE_INFINITY;
    throw error;
  }
}

async function replace(path: string, text: string): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(beside, text);
  await rename(beside, path);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false;
    throw error;
  }
}

function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}
