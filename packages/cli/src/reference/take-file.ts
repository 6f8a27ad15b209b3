import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, hash } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { concat } from '@kallio/codec';
import type { Collector } from './collector.ts';
import { HEAD_BYTES, isMeasurable, moduleCompression } from './measurable.ts';

/** A compressed module, and what it unpacks to, at the most. */
const MAX_MODULE = 64 * 1024 * 1024;
const MAX_UNPACKED = 512 * 1024 * 1024;

/** A file of a root file system or package. */
export interface ScannedFile {
  /** From the root of the file system that it will be part of. */
  readonly path: string;
  readonly mode: number;
  readonly content: AsyncIterable<Uint8Array>;
}

/** What a scan takes, and what it could not. */
export interface Scan {
  readonly collector: Collector;
  /** Every regular file, also those that nothing executes. */
  readonly all: boolean;
  /** What the scan can't give, each sentence once. */
  readonly limits: Set<string>;
}

/** Reads a file once and adds what IMA may measure of it. Gives its SHA-256, or `undefined` where it is passed over. */
export async function takeFile(
  { path, mode, content }: ScannedFile,
  scan: Scan,
): Promise<string | undefined> {
  const compression = moduleCompression(path);
  const digest = createHash('sha256');
  const kept: Uint8Array[] = [];
  let head: Uint8Array = new Uint8Array();
  let length = 0;
  let decided = scan.all;
  for await (const chunk of content) {
    if (!decided) {
      head = concat(head, chunk.subarray(0, HEAD_BYTES - head.length));
      if (head.length >= HEAD_BYTES) {
        if (!isMeasurable(path, mode, head)) return undefined;
        decided = true;
      }
    }
    digest.update(chunk);
    length += chunk.length;
    if (compression !== undefined && length <= MAX_MODULE) kept.push(chunk.slice());
  }
  if (!decided && !isMeasurable(path, mode, head)) return undefined;
  const sha256 = digest.digest('hex');
  scan.collector.add(path, sha256);
  if (compression === undefined) return sha256;
  const module = length <= MAX_MODULE ? await unpack(concat(...kept), compression) : 'too large';
  if (typeof module === 'string') scan.limits.add(unpackedLimit(module));
  else scan.collector.add(path.slice(0, -compression.length - 1), hash('sha256', module, 'hex'));
  return sha256;
}

const ZLIB = { maxOutputLength: MAX_UNPACKED };

/**
 * A module as it is where somebody has unpacked it: initial RAM disks hold modules so. The kernel itself, and kmod with
 * its help, measure the file as it lies on the disk.
 */
async function unpack(bytes: Uint8Array, compression: 'xz' | 'zst' | 'gz'): Promise<Uint8Array | string> {
  try {
    if (compression === 'gz') return await promisify(gunzip)(bytes, ZLIB);
    if (compression === 'zst') return await promisify(zstdDecompress)(bytes, ZLIB);
    return await unxz(bytes);
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT' ? 'no xz' : 'damaged';
  }
}

function unpackedLimit(why: string): string {
  if (why === 'no xz') {
    return 'Modules compressed with xz are listed as they lie on the disk only, as no xz is installed: apt-get install xz-utils.';
  }
  return `A compressed kernel module is ${why}: it is listed as it lies on the disk only.`;
}

async function unxz(bytes: Uint8Array): Promise<Uint8Array> {
  const child: ChildProcess = spawn('xz', ['-dc'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('no pipes');
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  // A damaged stream ends the child before all is written: its exit code says so.
  stdin.on('error', () => undefined);
  stdin.end(bytes);
  const parts: Uint8Array[] = [];
  let length = 0;
  const read = (async () => {
    for await (const part of stdout) {
      length += part.length;
      // Stops a few kilobytes from unpacking to all there is of memory.
      if (length > MAX_UNPACKED) child.kill('SIGKILL');
      else parts.push(part);
    }
  })();
  const [code] = await Promise.all([ended, read]);
  if (code !== 0) throw new Error('xz could not unpack it');
  return concat(...parts);
}
