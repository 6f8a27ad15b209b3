import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Digest, digestOf } from '@kallio/codec';
import { openLayout } from './layout.ts';
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
  const index = join(dir, 'index.json');
  let manifests: readonly Descriptor[] = existsSync(index) ? (await openLayout(dir)).manifests : [];
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');

  const put = async (bytes: Uint8Array): Promise<Digest> => {
    const digest = digestOf(bytes);
    await replace(join(blobs, digest.slice('sha256:'.length)), bytes);
    return digest;
  };
  const list = async (entry: Descriptor): Promise<void> => {
    const name = entry.annotations?.[REFERENCE_NAME];
    // A name moves: what had it is listed without it no more.
    const others = manifests.filter(
      (other) =>
        other.digest !== entry.digest && (name === undefined || other.annotations?.[REFERENCE_NAME] !== name),
    );
    manifests = [...others, entry];
    const document = { schemaVersion: 2, mediaType: MEDIA.index, manifests };
    await replace(index, Buffer.from(JSON.stringify(document)));
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
  };
}

async function replace(path: string, bytes: Uint8Array): Promise<void> {
  await writeFile(`${path}.tmp`, bytes);
  await rename(`${path}.tmp`, path);
}
