import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, digestOf, isDigest } from '@kallio/codec';
import { ociError } from '../error.ts';
import type { Streamed } from '../http/connection.ts';
import type { FindCredentials } from '../login/credentials.ts';
import { type Descriptor, MAX_MANIFEST, MEDIA } from '../manifest.ts';
import {
  checkedStream,
  collect,
  type FoundManifest,
  type ImageSource,
  requireContent,
  requireDigest,
} from '../source.ts';
import type { ImageTarget } from '../target.ts';
import { RegistryClient } from './client.ts';
import { mediaTypeOf } from './media-type.ts';
import { Referrers } from './referrers.ts';
import { failure, refusalsOf, refused } from './refusal.ts';

const ACCEPT = [MEDIA.index, MEDIA.manifest, MEDIA.dockerList, MEDIA.dockerManifest].join(', ');
/** How often a manifest is put again whose blobs the registry says it doesn't know. */
const MAX_LAPSES = 5;

/**
 * A repository as images name it, asked with the credentials that are stored on this machine for it, if it wants any. Where
 * they are looked for is loaded then: most that is asked of a registry on this machine asks nobody's name.
 */
export function openRepository(reference: {
  readonly registry: string;
  readonly repository: string;
}): Repository {
  return new Repository({
    ...reference,
    credentials: async (...of) => (await import('../login/stored.ts')).storedCredentials(...of),
  });
}

/** One repository of an OCI distribution registry (specification 1.1): its manifests, blobs and lists of referrers. */
export class Repository implements ImageSource, ImageTarget {
  readonly #client: RegistryClient;
  readonly #referrers: Referrers;

  constructor(options: {
    readonly registry: string;
    readonly repository: string;
    /** Who asks, once the registry wants to know. Without it: nobody in particular. */
    readonly credentials?: FindCredentials;
  }) {
    this.#client = new RegistryClient(options, options.credentials ?? (async () => undefined));
    this.#referrers = new Referrers(this.#client, (tag, bytes, mediaType) =>
      this.#putManifest('list a referrer', tag, bytes, mediaType).then(() => undefined),
    );
  }

  async manifest(reference: string): Promise<FoundManifest> {
    const answer = await this.#client.get(`/manifests/${reference}`, { accept: ACCEPT });
    if (answer === undefined) {
      throw ociError('OCI_NOT_FOUND', `${this.#client.name} has no manifest ${reference}.`);
    }
    const bytes = await collect(answer.body, MAX_MANIFEST, 'A manifest');
    const digest = digestOf(bytes);
    if (isDigest(reference) && digest !== reference) {
      throw ociError('OCI_DIGEST_MISMATCH', `What the registry gave for ${reference} is something else.`, {
        pointer: reference,
      });
    }
    return { bytes, digest, mediaType: mediaTypeOf(answer, this.#client) };
  }

  async blob(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
    if (descriptor.size > maxBytes)
      throw ociError('OCI_TOO_LARGE', `${descriptor.digest} is longer than ${maxBytes} bytes.`);
    const bytes = await collect(await this.stream(descriptor), descriptor.size, descriptor.digest);
    return requireContent(bytes, descriptor);
  }

  async content(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined> {
    const answer = await this.#client.get(`/blobs/${digest}`, {}, maxBytes);
    return answer === undefined
      ? undefined
      : requireDigest(await collect(answer.body, maxBytes, digest), digest);
  }

  async stream(descriptor: Descriptor): Promise<AsyncIterable<Uint8Array>> {
    const answer = await this.#client.get(`/blobs/${descriptor.digest}`, {}, descriptor.size);
    if (answer === undefined) {
      throw ociError('OCI_NOT_FOUND', `${this.#client.name} has no blob ${descriptor.digest}.`);
    }
    return answer.body;
  }

  /**
   * Manifests that name `subject` as theirs, of these artifact types, each type's together. What it lists is not believed,
   * and may be a flood: whoever takes so many of it puts the likely ones first.
   */
  async referrers(subject: Digest, ...artifactTypes: readonly string[]): Promise<readonly Descriptor[]> {
    const listed = await this.#referrers.of(subject);
    return artifactTypes.flatMap((type) => listed.filter((descriptor) => descriptor.artifactType === type));
  }

  /** Puts a blob there, unless it is there. */
  async pushBlob(bytes: Uint8Array): Promise<Descriptor> {
    const digest = digestOf(bytes);
    if (!(await this.#hasBlob(digest))) await this.#upload(digest, bytes);
    return { mediaType: 'application/octet-stream', digest, size: bytes.length };
  }

  async pushStream(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    open: () => Promise<AsyncIterable<Uint8Array>>,
  ): Promise<void> {
    if (await this.#hasBlob(blob.digest)) return;
    // Opened once it is wanted: a source that nobody reads would be waited for as long as it may take to read it.
    async function* opened() {
      yield* checkedStream(await open(), blob);
    }
    await this.#upload(blob.digest, { stream: opened(), length: blob.size });
  }

  /**
   * Puts a manifest there, by tag or by its digest. Its blobs must be there. A tag moves once what was attached before is
   * settled: whoever finds the image by it finds its signature.
   */
  async pushManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    const digest = digestOf(bytes);
    if (tag !== undefined) await this.settle();
    await this.#putManifest('store a manifest', tag ?? digest, bytes, mediaType);
    return digest;
  }

  /** Puts a referrer there and, where the registry has no referrers API, into the list that its subject's tag names. */
  async pushReferrer(
    manifest: Uint8Array,
    subject: Digest,
    listing: Omit<Descriptor, 'digest' | 'size'>,
  ): Promise<Digest> {
    const digest = digestOf(manifest);
    const { listed } = await this.#putManifest('store a referrer', digest, manifest, MEDIA.manifest);
    if (!listed) await this.#referrers.add(subject, { ...listing, digest, size: manifest.length });
    return digest;
  }

  settle(): Promise<void> {
    return this.#referrers.settle();
  }

  async #hasBlob(digest: Digest): Promise<boolean> {
    const there = await this.#client.send('HEAD', `/blobs/${digest}`);
    there.drop();
    return there.status === 200;
  }

  async #upload(digest: Digest, body: Uint8Array | Streamed): Promise<void> {
    const client = this.#client;
    const start = await client.send('POST', '/blobs/uploads/');
    const location = start.header('location');
    if (start.status !== 202 || location === undefined) throw await failure(client, 'start an upload', start);
    start.drop();
    const url = client.led(location);
    url.searchParams.set('digest', digest);
    const done = await client.send('PUT', url, {
      body,
      headers: { 'content-type': 'application/octet-stream' },
    });
    if (done.status !== 201) throw await failure(client, 'store a blob', done);
    done.drop();
  }

  /** Whether the registry has listed it with its subject: it says so (specification 1.1, "Pushing Manifests with Subject"). */
  async #putManifest(
    what: string,
    name: string,
    body: Uint8Array,
    mediaType: string,
  ): Promise<{ readonly listed: boolean }> {
    const client = this.#client;
    const headers = { 'content-type': mediaType };
    for (let attempt = 0; ; attempt++) {
      const answer = await client.send('PUT', `/manifests/${name}`, { body, headers });
      if (answer.status === 201) {
        answer.drop();
        return { listed: answer.header('oci-subject') !== undefined };
      }
      const refusals = await refusalsOf(answer);
      // docker-registry doesn't find a blob whose file another writer is just replacing with the same.
      const lapse = refusals.some(({ code }) => code === 'MANIFEST_BLOB_UNKNOWN');
      if (!lapse || attempt === MAX_LAPSES) throw refused(client, what, answer.status, refusals);
      await wait(20 * 2 ** attempt);
    }
  }
}
