import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Digest, digestOf, type Json } from '@kallio/codec';
import { isObject, type RawEntry, rewrittenIndex } from './index-document.ts';
import { layoutIndex } from './layout.ts';
import { type Descriptor, MEDIA, REFERENCE_NAME } from './manifest.ts';
import { checkedStream } from './source.ts';
import type { ImageTarget } from './target.ts';

/**
 * An OCI image layout to write into (image specification 1.1, "Image Layout"): a new one, or one more image beside
 * those that are there. The index is written last and in one step, so a layout always names whole images only.
 */
export async function writeLayout(dir: string): Promise<ImageTarget> {
  const blobs = join(dir, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  // What is there and is no layout stays as it is.
  await layoutIndex(dir);
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');

  const put = async (bytes: Uint8Array): Promise<Digest> => {
    const digest = digestOf(bytes);
    await replace(join(blobs, digest.slice('sha256:'.length)), bytes);
    return digest;
  };
  const list = async (entry: Descriptor): Promise<void> => {
    // As it is now: another image may have been put there meanwhile.
    const bytes = await layoutIndex(dir);
    const found = bytes === undefined ? undefined : { bytes, mediaType: MEDIA.index };
    const document = rewrittenIndex(found, (entries) => withEntry(entries, entry));
    await replace(join(dir, 'index.json'), document);
  };
  return {
    async pushBlob(bytes) {
      return { mediaType: 'application/octet-stream', digest: await put(bytes), size: bytes.length };
    },
    async pushStream(blob, open) {
      const path = join(blobs, blob.digest.slice('sha256:'.length));
      const temporary = `${path}.tmp`;
      try {
        await pipeline(checkedStream(await open(), blob), createWriteStream(temporary));
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    },
    async pushManifest(bytes, mediaType, tag) {
      const digest = await put(bytes);
      if (tag === undefined) return digest;
      await list({ mediaType, digest, size: bytes.length, annotations: { [REFERENCE_NAME]: tag } });
      return digest;
    },
    async pushReferrer(manifest, _subject, listing) {
      const digest = await put(manifest);
      await list({ ...listing, digest, size: manifest.length });
      return digest;
    },
    // Nobody else writes there.
    async settle() {},
  };
}

/**
 * A layout's entries with one more. A name moves: what had it is listed without it, and is had by its digest. What has
 * several names has an entry for each.
 */
function withEntry(entries: readonly RawEntry[], entry: Descriptor): readonly (RawEntry | Descriptor)[] {
  const name = entry.annotations?.[REFERENCE_NAME];
  const kept: RawEntry[] = [];
  for (const other of entries) {
    const theirs = nameOf(other);
    if (other.digest === entry.digest) {
      if (theirs !== undefined && theirs !== name) kept.push(other);
    } else if (name === undefined || theirs !== name) {
      kept.push(other);
    } else if (!entries.some((one) => one.digest === other.digest && nameOf(one) !== name)) {
      kept.push(withoutName(other));
    }
  }
  return [...kept, entry];
}

function nameOf({ annotations }: RawEntry): Json | undefined {
  return isObject(annotations) ? annotations[REFERENCE_NAME] : undefined;
}

function withoutName(entry: RawEntry): RawEntry {
  const { annotations, ...rest } = entry;
  if (!isObject(annotations)) return entry;
  const { [REFERENCE_NAME]: _, ...others } = annotations;
  return Object.keys(others).length === 0 ? rest : { ...rest, annotations: others };
}

async function replace(path: string, bytes: Uint8Array): Promise<void> {
  await writeFile(`${path}.tmp`, bytes);
  await rename(`${path}.tmp`, path);
}
