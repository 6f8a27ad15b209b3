import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Duplex, PassThrough, pipeline } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { concat, KallioError } from '@kallio/codec';
import { extract } from 'tar-stream';
import { cliError } from '../output/output.ts';
import { AR_HEADER_BYTES, AR_MAGIC, type ArMember, readArHeader } from './ar.ts';
import { controlPackage, type PackageName } from './dpkg.ts';
import { type Scan, type ScannedFile, takeFile } from './take-file.ts';

const MAX_CONTROL = 4 * 1024 * 1024;
const MAX_ENTRIES = 1_000_000;
const MAX_MEMBERS = 16;

/** The .deb files of a folder, or the one that was named. */
export async function packageFiles(path: string): Promise<string[]> {
  if ((await lstat(path)).isFile()) return [path];
  const entries = await readdir(path, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.deb'))
    .map(({ name }) => join(path, name))
    .sort();
}

interface Place extends ArMember {
  readonly offset: number;
}

/** Takes every file of a Debian package (deb(5)), and gives its name and version. */
export async function scanPackage(path: string, scan: Scan): Promise<PackageName> {
  const members = await membersOf(path);
  const control = members.find(({ name }) => name.startsWith('control.tar'));
  const data = members.find(({ name }) => name.startsWith('data.tar'));
  if (members[0]?.name !== 'debian-binary' || control === undefined || data === undefined) {
    throw malformed(path, 'it has not the members of one');
  }
  let name: PackageName | undefined;
  await readTar(path, tarOf(path, control), async (file) => {
    if (file.path !== '/control') return;
    name = controlPackage(Buffer.from(await whole(path, file.content)).toString('utf8'));
  });
  if (name === undefined) throw malformed(path, 'its control file names no package');
  const digests = new Map<string, string>();
  await readTar(path, tarOf(path, data), async (file) => {
    if (file.link !== undefined) {
      // A hard link is one more name of a file that came before.
      const digest = digests.get(file.link);
      if (digest !== undefined) scan.collector.add(file.path, digest);
      return;
    }
    const digest = await takeFile(file, scan);
    if (digest !== undefined) digests.set(file.path, digest);
  });
  return name;
}

async function membersOf(path: string): Promise<Place[]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (Buffer.from(await readAt(file, 0, AR_MAGIC.length)).toString('latin1') !== AR_MAGIC) {
      throw malformed(path, 'it is no ar archive');
    }
    const members: Place[] = [];
    for (let at = AR_MAGIC.length; at < size; ) {
      const member = readArHeader(await readAt(file, at, AR_HEADER_BYTES));
      const offset = at + AR_HEADER_BYTES;
      if (offset + member.size > size || members.length >= MAX_MEMBERS)
        throw malformed(path, 'it is cut short');
      members.push({ ...member, offset });
      // Members begin at even places.
      at = offset + member.size + (member.size % 2);
    }
    return members;
  } finally {
    await file.close();
  }
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const { bytesRead } = await file.read(bytes, 0, length, at);
  return bytes.subarray(0, bytesRead);
}

/** The tar archive of a member. */
function tarOf(path: string, { name, offset, size }: Place): Duplex[] {
  if (name.endsWith('.xz')) return [unpackedByDpkg(path, name)];
  const raw = Duplex.from(createReadStream(path, { start: offset, end: offset + Math.max(size, 1) - 1 }));
  if (name.endsWith('.tar')) return [raw];
  if (name.endsWith('.gz')) return [raw, createGunzip()];
  if (name.endsWith('.zst')) return [raw, createZstdDecompress()];
  throw malformed(path, `its member ${name} is compressed in a way that is not known here`);
}

/** Node has no xz. */
function unpackedByDpkg(path: string, member: string): Duplex {
  const what = member.startsWith('control') ? '--ctrl-tarfile' : '--fsys-tarfile';
  const child = spawn('dpkg-deb', [what, resolve(path)], { stdio: ['ignore', 'pipe', 'ignore'] });
  const tar = new PassThrough();
  child.once('error', () => {
    tar.destroy(
      cliError(
        'CLI_TOOL_MISSING',
        `${path} is compressed with xz, and dpkg-deb can’t be run.`,
        'Install it: apt-get install dpkg.',
      ),
    );
  });
  child.once('close', (code) => {
    if (code === 0) tar.end();
    else tar.destroy(malformed(path, 'dpkg-deb can’t unpack it'));
  });
  child.stdout.pipe(tar, { end: false });
  tar.once('close', () => child.kill());
  return tar;
}

interface TarFile extends ScannedFile {
  /** Of a hard link: the path it is another name of. */
  readonly link?: string;
}

async function readTar(
  path: string,
  source: Duplex[],
  take: (file: TarFile) => Promise<void>,
): Promise<void> {
  const tar = extract();
  let broken: unknown;
  pipeline([...source, tar], (error) => {
    broken = error ?? undefined;
  });
  let entries = 0;
  try {
    for await (const entry of tar) {
      const { type, name, mode = 0, linkname } = entry.header;
      if (++entries > MAX_ENTRIES) throw malformed(path, `it has more than ${MAX_ENTRIES} entries`);
      if (type === 'file' || type === 'contiguous-file') {
        await take({ path: rooted(path, name), mode, content: chunksOf(entry) });
      } else if (type === 'link') {
        const link = rooted(path, linkname ?? '');
        await take({ path: rooted(path, name), mode, content: chunksOf(entry), link });
      }
      entry.resume();
    }
  } catch (cause) {
    const real = broken ?? cause;
    if (real instanceof KallioError) throw real;
    throw malformed(path, 'its archive is damaged');
  }
}

/** The chunks of an entry. Whoever stops early leaves the rest to be passed over, not the whole archive to be closed. */
async function* chunksOf(entry: AsyncIterable<unknown>): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = entry[Symbol.asyncIterator]();
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
    if (next.value instanceof Uint8Array) yield next.value;
  }
}

/** A name of a package’s file, from the root. Stops names that climb out of it from being taken for others. */
function rooted(path: string, name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || name.length > 4096) throw malformed(path, 'a file in it lies outside the root');
  return `/${parts.join('/')}`;
}

async function whole(path: string, content: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of content) {
    length += part.length;
    if (length > MAX_CONTROL) throw malformed(path, 'its control file is too long');
    parts.push(part);
  }
  return concat(...parts);
}

function malformed(path: string, why: string): KallioError {
  return cliError('CLI_PACKAGE', `${path} is no Debian package that can be read: ${why}.`);
}
