import { closeSync, constants, fstatSync, openSync, read, readdirSync, type Stats } from 'node:fs';
import { promisify } from 'node:util';
import { cliError } from '../output/output.ts';
import { type Scan, takeFile } from './take-file.ts';

const readFd = promisify(read);
const CHUNK = 1024 * 1024;
/** Files that are read at once. */
const PARALLEL = 4;
/** As deep as any real tree, and no deeper: each level holds a folder open. */
const MAX_DEPTH = 128;
/** Folders of a running system that hold no files of it. */
const NOT_FILES: ReadonlySet<string> = new Set(['proc', 'sys', 'dev', 'run']);
const MAX_SKIPPED = 1000;

/** How a scan of a root goes. */
export interface RootOptions {
  /** Also what is mounted below the root. */
  readonly mounts: boolean;
  readonly progress: (files: number, bytes: number, path: string) => void;
}

/** What was passed over, and why. */
export interface Skipped {
  readonly path: string;
  readonly why: 'unreadable' | 'changed while it was read' | 'another file system' | 'too deep';
}

/**
 * Takes every file below a folder that is, or will be, the root of a file system. Nothing outside is ever read: each
 * name is opened relative to its open folder, and no symbolic link is followed, whatever somebody exchanges meanwhile.
 */
export async function scanRoot(root: string, scan: Scan, options: RootOptions): Promise<Skipped[]> {
  const skipped: Skipped[] = [];
  const skip = (path: string, why: Skipped['why']) => {
    if (skipped.length < MAX_SKIPPED) skipped.push({ path, why });
  };
  const top = openFolder(Buffer.from(root));
  if (top === undefined) throw cliError('CLI_FILE', `${root} is no folder that can be read.`);
  let files = 0;
  let bytes = 0;
  const take = async (file: OpenFile): Promise<void> => {
    try {
      const { path, stats } = file;
      await takeFile({ path, mode: stats.mode, content: contentOf(file) }, scan);
      files++;
      bytes += stats.size;
      options.progress(files, bytes, path);
    } catch (cause) {
      if (!(cause instanceof Changed) && !isSystemError(cause)) throw cause;
      skip(file.path, cause instanceof Changed ? 'changed while it was read' : 'unreadable');
    } finally {
      closeSync(file.fd);
    }
  };
  await inParallel(
    walk({ fd: top, path: '', depth: 0, device: fstatSync(top).dev }, options.mounts, skip),
    take,
  );
  return skipped;
}

interface OpenFile {
  readonly fd: number;
  readonly path: string;
  readonly stats: Stats;
}

interface OpenFolder {
  readonly fd: number;
  readonly path: string;
  readonly depth: number;
  readonly device: number;
}

/** Every regular file, open. Whoever takes one closes it. */
function* walk(
  folder: OpenFolder,
  mounts: boolean,
  skip: (path: string, why: Skipped['why']) => void,
): Generator<OpenFile, void, undefined> {
  const { fd, path, depth, device } = folder;
  try {
    for (const entry of readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer', withFileTypes: true })) {
      if (!entry.isDirectory() && !entry.isFile()) continue;
      const name = nameOf(entry.name);
      const here = `${path}/${name}`;
      if (depth === 0 && NOT_FILES.has(name)) continue;
      const opened = entry.isDirectory()
        ? openFolder(below(fd, entry.name))
        : openFile(below(fd, entry.name));
      if (opened === undefined) {
        skip(here, 'unreadable');
        continue;
      }
      const stats = fstatSync(opened);
      if (stats.dev !== device && !mounts) {
        closeSync(opened);
        skip(here, 'another file system');
      } else if (stats.isDirectory()) {
        if (depth < MAX_DEPTH)
          yield* walk({ fd: opened, path: here, depth: depth + 1, device: stats.dev }, mounts, skip);
        else {
          closeSync(opened);
          skip(here, 'too deep');
        }
      } else if (stats.isFile()) yield { fd: opened, path: here, stats };
      else closeSync(opened);
    }
  } finally {
    closeSync(fd);
  }
}

/** A name in an open folder: like openat(2), so that the folder can't be exchanged for a link on the way. */
function below(fd: number, name: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
}

function openFolder(path: Buffer): number | undefined {
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** Without blocking: what was a file may be a pipe by now. */
function openFile(path: Buffer): number | undefined {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

function open(path: Buffer, flags: number): number | undefined {
  try {
    return openSync(path, flags);
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    return undefined;
  }
}

/** As evidence names it: bytes that are not UTF-8 as `\xNN`. */
function nameOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return Array.from(bytes, (byte) =>
      byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
    ).join('');
  }
}

class Changed extends Error {}

async function* contentOf({ fd, stats }: OpenFile): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = new Uint8Array(Math.min(CHUNK, Math.max(stats.size, 4096)));
  for (let at = 0; ; ) {
    const { bytesRead } = await readFd(fd, buffer, 0, buffer.length, at);
    at += bytesRead;
    if (bytesRead === 0) break;
    yield buffer.subarray(0, bytesRead);
  }
  // Stops a digest of half an old file and half a new one from being taken for a reference value.
  const now = fstatSync(fd);
  if (now.size !== stats.size || now.mtimeMs !== stats.mtimeMs || now.ctimeMs !== stats.ctimeMs)
    throw new Changed();
}

function isSystemError(cause: unknown): boolean {
  return cause instanceof Error && 'syscall' in cause;
}

/** Works on some items at a time; the first failure ends it all. */
async function inParallel<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const worker = async () => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await work(next.value);
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  } finally {
    iterator.return?.();
  }
}
