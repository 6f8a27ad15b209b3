import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline as pipe } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { ociError } from './error.ts';
import { MAX_MANIFEST } from './manifest.ts';

/** What an archive may hold: more is refused before it is written down. */
export interface ArchiveLimits {
  /** Entries, folders among them. */
  readonly entries: number;
  /** Bytes of one file in it. */
  readonly file: number;
  /** Bytes of all files in it. */
  readonly bytes: number;
}

const LIMITS: ArchiveLimits = { entries: 8192, file: 16 * 1024 ** 3, bytes: 64 * 1024 ** 3 };

const BLOB = /^blobs\/sha256\/[0-9a-f]{64}$/;
const FOLDERS: ReadonlySet<string> = new Set(['', 'blobs', 'blobs/sha256']);
/** What Docker and podman put beside a layout, for those that know no layouts. */
const BESIDE: ReadonlySet<string> = new Set(['manifest.json', 'repositories']);

/**
 * Unpacks an image layout that a builder left as a tar archive (`docker buildx build -o type=oci`, `podman save --format
 * oci-archive`) into a folder that is made for it. Attack: an archive that writes elsewhere. So nothing is taken from a
 * name: a file is the index, the layout's version or a blob by its digest, once each; links and devices are refused, and so
 * is whatever else has no place in a layout. What is in the files is for whoever reads the layout to check.
 */
export async function unpackLayout(
  archive: string,
  dir: string,
  options: { readonly limits?: ArchiveLimits; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const { limits = LIMITS, signal } = options;
  await mkdir(join(dir, 'blobs', 'sha256'), { recursive: true });
  const tar = extract();
  let broken: unknown;
  pipe([createReadStream(archive, { signal }), tar], (error) => {
    broken = error ?? undefined;
  });
  const seen = new Set<string>();
  let [entries, bytes] = [0, 0];
  try {
    for await (const entry of tar) {
      const { header } = entry;
      if (++entries > limits.entries) throw tooMuch(`more than ${limits.entries} entries`);
      const path = placeOf(header);
      const size = header.size ?? 0;
      const most = BLOB.test(path) ? limits.file : MAX_MANIFEST;
      bytes += size;
      // NaN, too: a size that is no number.
      if (!(size >= 0 && size <= most)) throw tooMuch(`a file of ${size} bytes, ${path}`);
      if (bytes > limits.bytes) throw tooMuch(`more than ${limits.bytes} bytes`);
      if (header.type === 'directory' || BESIDE.has(path)) {
        entry.resume();
        continue;
      }
      // Attack: a blob that is another one for who reads the archive's last than for who reads its first.
      if (seen.has(path)) throw layoutError(`it has ${path} twice`);
      seen.add(path);
      await pipeline(entry, createWriteStream(join(dir, path), { flags: 'wx', mode: 0o600 }), { signal });
    }
  } catch (cause) {
    signal?.throwIfAborted();
    const real = broken ?? cause;
    if (real instanceof Error && real.name === 'KallioError') throw real;
    if (isOfDisk(real)) throw real;
    throw layoutError('it is no well-formed tar archive, or a compressed one', real);
  }
  if (!seen.has('index.json')) throw layoutError('it has no index.json');
}

/** Where an entry belongs in a layout: its name, where that is one that a layout has. */
function placeOf({ name, type }: Header): string {
  const path = name.replace(/^\.\//, '').replace(/\/$/, '').replace(/^\.$/, '');
  const shown = JSON.stringify(name.slice(0, 200));
  if (type === 'directory') {
    if (FOLDERS.has(path)) return path;
    throw layoutError(`the folder ${shown} has no place in one`);
  }
  if (type !== 'file') throw layoutError(`${shown} is no file but a ${type ?? 'thing of no known type'}`);
  if (BLOB.test(path) || BESIDE.has(path) || path === 'index.json' || path === 'oci-layout') return path;
  throw layoutError(`${shown} has no place in one`);
}

/** A full disk, say: nothing that the archive is to blame for. */
function isOfDisk(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

function tooMuch(what: string) {
  return ociError('OCI_TOO_LARGE', `This archive of an image layout holds ${what}.`);
}

function layoutError(why: string, cause?: unknown) {
  return ociError('OCI_LAYOUT', `This archive is no image layout: ${why}.`, {
    hint: 'An uncompressed tar archive of an OCI layout is one; one of docker-archive (kaniko --tar-path) is not.',
    cause,
  });
}
