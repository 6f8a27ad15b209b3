import { createHash, type Hash, hash } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { Digest } from '@kallio/codec';
import { ociError } from './error.ts';
import type { Descriptor } from './manifest.ts';
import { type TarEntry, TarReader } from './tar/reader.ts';
import { cutIntoFrames } from './zstd-frames.ts';

/** Limits on one image's layers together. A hostile image is refused before it has cost more than this. */
export interface LayerLimits {
  /** Entries of all layers, and directories that none of them names. */
  readonly entries: number;
  /** Bytes of all their names, and of the names that hard links lead to. */
  readonly names: number;
  /** Uncompressed bytes of all layers. */
  readonly bytes: number;
  /** How many times larger than its compressed form a layer may be (beyond a first 16 MiB). */
  readonly ratio: number;
}

export const DEFAULT_LIMITS: LayerLimits = {
  entries: 1_000_000,
  names: 128 * 1024 ** 2,
  bytes: 64 * 1024 ** 3,
  ratio: 200,
};

/** One entry of a layer, as much of it as a file manifest needs. */
export interface LayerEntry extends Pick<TarEntry, 'mode' | 'uid' | 'gid' | 'size'> {
  readonly type: 'file' | 'directory' | 'link' | 'other';
  /** Path without a leading slash or `.`, parts joined by `/`; empty for the root itself. */
  readonly path: string;
  /** Of a hard link: the path of the file that it is another name of. */
  readonly target?: string;
  /** Lower-case hexadecimal SHA-256, of regular files. */
  readonly sha256?: string;
}

/** What has been spent of the limits. */
export class LayerBudget {
  readonly limits: LayerLimits;
  #entries = 0;
  #names = 0;
  #bytes = 0;

  constructor(limits: LayerLimits = DEFAULT_LIMITS) {
    this.limits = limits;
  }

  entry(): void {
    if (++this.#entries > this.limits.entries) {
      throw ociError('OCI_LAYER_LIMIT', `This image has more than ${this.limits.entries} entries.`);
    }
  }

  names(length: number): void {
    this.#names += length;
    if (this.#names > this.limits.names) {
      throw ociError('OCI_LAYER_LIMIT', `This image has names of more than ${this.limits.names} bytes.`);
    }
  }

  bytes(count: number): void {
    this.#bytes += count;
    if (this.#bytes > this.limits.bytes) {
      throw ociError('OCI_LAYER_LIMIT', `This image unpacks to more than ${this.limits.bytes} bytes.`);
    }
  }
}

const FREE_EXPANSION = 16 * 1024 * 1024;
/** In pieces of this size a layer is decompressed. */
const PIECE = 64 * 1024;

/**
 * Reads a layer: decompresses, checks digest and size of what came and the diff id of what it unpacks to, and gives
 * each entry to `visit`, in order; a regular file's content is hashed as it passes. Throws after the last entry when a
 * digest does not hold: whoever collects must not use what was collected before this returns.
 */
export async function readLayer(
  compressed: AsyncIterable<Uint8Array>,
  descriptor: Descriptor,
  diffId: Digest,
  budget: LayerBudget,
  visit: (entry: LayerEntry) => void,
): Promise<void> {
  const sizeMismatch = (has: string) =>
    ociError('OCI_SIZE_MISMATCH', `A layer should have ${descriptor.size} bytes and has ${has}.`, {
      pointer: descriptor.digest,
    });
  const outer = new Meter((length) => {
    // Attack: a layer that goes on for as long as the registry may take.
    if (length > descriptor.size) throw sizeMismatch('more');
  });
  const inner = new Meter((length) => {
    budget.bytes(length - inner.length);
    // Attack: a few kilobytes that unpack to terabytes.
    if (length > FREE_EXPANSION && length > outer.length * budget.limits.ratio) {
      throw ociError(
        'OCI_LAYER_LIMIT',
        `This layer unpacks to more than ${budget.limits.ratio} times its size.`,
        {
          pointer: descriptor.digest,
        },
      );
    }
  });
  const files = new Hashing(budget, visit);
  const tar = new TarReader(files);
  try {
    for await (const chunk of decompressed(outer.measured(compressed), descriptor.mediaType)) {
      inner.take(chunk);
      tar.push(chunk);
    }
    tar.end();
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'KallioError') throw cause;
    throw ociError('OCI_LAYER', 'This layer is no well-formed archive of its media type.', {
      pointer: descriptor.digest,
      cause,
    });
  }
  if (outer.length !== descriptor.size) throw sizeMismatch(`${outer.length}`);
  if (outer.digest() !== descriptor.digest) {
    throw ociError('OCI_DIGEST_MISMATCH', 'What was given for a layer is something else.', {
      pointer: descriptor.digest,
    });
  }
  // Attack: the signed configuration names other content than the layers that come with it.
  if (inner.digest() !== diffId) {
    throw ociError('OCI_DIFF_ID_MISMATCH', 'A layer does not unpack to what the configuration names.', {
      pointer: diffId,
    });
  }
}

function decompressed(stream: AsyncIterable<Uint8Array>, mediaType: string): AsyncIterable<Uint8Array> {
  const unpack = (from: AsyncIterable<Uint8Array>, through: ReturnType<typeof createGunzip>) => {
    // What breaks it is told to who reads it.
    pipeline(Readable.from(from, { objectMode: false }), through, () => undefined);
    return through;
  };
  if (mediaType.endsWith('gzip')) return unpack(stream, createGunzip({ chunkSize: PIECE }));
  if (mediaType.endsWith('zstd'))
    return unpack(cutIntoFrames(stream), createZstdDecompress({ chunkSize: PIECE }));
  return stream;
}

/** Makes entries of what a tar archive holds. */
class Hashing {
  readonly #budget: LayerBudget;
  readonly #visit: (entry: LayerEntry) => void;
  #file: Omit<LayerEntry, 'sha256'> | undefined;
  /** Of a file that comes in more than one piece. */
  #hash: Hash | undefined;

  constructor(budget: LayerBudget, visit: (entry: LayerEntry) => void) {
    this.#budget = budget;
    this.#visit = visit;
  }

  entry({ type, name, link, mode, uid, gid, size }: TarEntry): void {
    this.#budget.entry();
    this.#budget.names(name.length + link.length);
    const path = cleanPath(name);
    const about = { path, mode, uid, gid, size };
    if (type === 'file') this.#file = { ...about, type };
    else if (type === 'link') this.#visit({ ...about, type, target: cleanPath(link) });
    else this.#visit({ ...about, type: type === 'directory' ? type : 'other' });
  }

  content(piece: Uint8Array, last: boolean): void {
    const file = this.#file;
    if (file === undefined) throw new Error('content belongs to a file');
    if (last && this.#hash === undefined) {
      this.#done(file, hash('sha256', piece, 'hex'));
      return;
    }
    this.#hash ??= createHash('sha256');
    this.#hash.update(piece);
    if (last) this.#done(file, this.#hash.digest('hex'));
  }

  passedOver(): void {
    this.#budget.entry();
  }

  #done(file: Omit<LayerEntry, 'sha256'>, sha256: string): void {
    this.#file = undefined;
    this.#hash = undefined;
    this.#visit({ ...file, sha256 });
  }
}

/** Counts and hashes what passes. */
class Meter {
  readonly #hash: Hash = createHash('sha256');
  readonly #before: (length: number) => void;
  length = 0;

  constructor(before: (length: number) => void) {
    this.#before = before;
  }

  take(chunk: Uint8Array): void {
    this.#before(this.length + chunk.length);
    this.length += chunk.length;
    this.#hash.update(chunk);
  }

  async *measured(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of stream) {
      this.take(chunk);
      yield chunk;
    }
  }

  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}

/** Attack: a name that climbs out of the root. Absolute names and `./` are common and mean the root. */
function cleanPath(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || name.includes('\0')) {
    throw ociError(
      'OCI_LAYER_PATH',
      `A layer has an entry whose name is not inside the root: ${JSON.stringify(name.slice(0, 200))}.`,
    );
  }
  return parts.join('/');
}
