import { createHash, type Hash } from 'node:crypto';
import { pipeline, Readable, Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { Digest } from '@kallio/codec';
import { extract, type Header } from 'tar-stream';
import { ociError } from './error.ts';
import type { Descriptor } from './manifest.ts';

/** Limits on one image's layers together. A hostile image is refused before it has cost more than this. */
export interface LayerLimits {
  /** Entries of all layers. */
  readonly entries: number;
  /** Uncompressed bytes of all layers. */
  readonly bytes: number;
  /** How many times larger than its compressed form a layer may be (beyond a first 16 MiB). */
  readonly ratio: number;
}

export const DEFAULT_LIMITS: LayerLimits = { entries: 1_000_000, bytes: 64 * 1024 ** 3, ratio: 200 };

/** One entry of a layer; a regular file's content is hashed as it passes. */
export interface LayerEntry {
  readonly header: Header;
  /** Path without a leading slash or `.`, parts joined by `/`; empty for the root itself. */
  readonly path: string;
  /** Lower-case hexadecimal SHA-256, of regular files. */
  readonly sha256?: string;
}

/** What has been spent of the limits. */
export class LayerBudget {
  readonly limits: LayerLimits;
  #entries = 0;
  #bytes = 0;

  constructor(limits: LayerLimits = DEFAULT_LIMITS) {
    this.limits = limits;
  }

  entry(): void {
    if (++this.#entries > this.limits.entries) {
      throw ociError('OCI_LAYER_LIMIT', `This image has more than ${this.limits.entries} entries.`);
    }
  }

  bytes(count: number): void {
    this.#bytes += count;
    if (this.#bytes > this.limits.bytes) {
      throw ociError('OCI_LAYER_LIMIT', `This image unpacks to more than ${this.limits.bytes} bytes.`);
    }
  }
}

const MAX_PATH = 4096;
const FREE_EXPANSION = 16 * 1024 * 1024;

/**
 * Reads a layer: decompresses, checks digest and size of what came and the diff id of what it unpacks to, and gives
 * each entry to `visit`, in order. Throws after the last entry when a digest does not hold: whoever collects must
 * not use what was collected before this returns.
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
  const tar = extract();
  const decompress = decompressor(descriptor.mediaType);
  const stages = [
    Readable.from(compressed, { objectMode: false }),
    outer.stream,
    ...decompress,
    inner.stream,
    tar,
  ];
  let broken: unknown;
  pipeline(stages, (error) => {
    broken = error ?? undefined;
  });
  try {
    for await (const entry of tar) {
      budget.entry();
      const { header } = entry;
      const path = cleanPath(header.name);
      if (header.type === 'file' || header.type === 'contiguous-file') {
        const hash = createHash('sha256');
        for await (const chunk of entry) hash.update(chunk as Uint8Array);
        visit({ header, path, sha256: hash.digest('hex') });
      } else {
        entry.resume();
        visit({ header, path });
      }
    }
  } catch (cause) {
    const real = broken ?? cause;
    if (real instanceof Error && real.name === 'KallioError') throw real;
    throw ociError('OCI_LAYER', 'This layer is no well-formed tar archive of its media type.', {
      pointer: descriptor.digest,
      cause: real,
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

function decompressor(mediaType: string) {
  if (mediaType.endsWith('gzip')) return [createGunzip()];
  return mediaType.endsWith('zstd') ? [createZstdDecompress()] : [];
}

/** Counts and hashes what passes. */
class Meter {
  readonly stream: Transform;
  readonly #hash: Hash = createHash('sha256');
  length = 0;

  constructor(before: (length: number) => void = () => undefined) {
    this.stream = new Transform({
      transform: (chunk: Uint8Array, _encoding, done) => {
        try {
          before(this.length + chunk.length);
          this.length += chunk.length;
          this.#hash.update(chunk);
          done(null, chunk);
        } catch (error) {
          done(error instanceof Error ? error : new Error(String(error)));
        }
      },
    });
  }

  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}

/** Attack: a name that climbs out of the root. Absolute names and `./` are common and mean the root. */
function cleanPath(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (name.length > MAX_PATH || parts.includes('..') || name.includes('\0')) {
    throw ociError(
      'OCI_LAYER_PATH',
      `A layer has an entry whose name is not inside the root: ${JSON.stringify(name.slice(0, 200))}.`,
    );
  }
  return parts.join('/');
}
