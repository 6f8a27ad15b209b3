import { type Digest, digestOf, isDigest } from '@kallio/codec';
import { ociError } from './error.ts';
import { type Descriptor, MAX_MANIFEST, MEDIA, parseManifest } from './manifest.ts';
import { isLoopback } from './reference.ts';
import { collect, type FoundManifest, type ImageSource, requireContent } from './source.ts';
import type { ImageTarget } from './target.ts';

const ACCEPT = [MEDIA.index, MEDIA.manifest, MEDIA.dockerList, MEDIA.dockerManifest].join(', ');
const TIMEOUT_MS = 60_000;
/** Most referrers that are looked at: a registry can be flooded with them. */
const MAX_REFERRERS = 256;
/** Most pages of a list of referrers that are asked for. */
const MAX_PAGES = 16;

/** Credentials for one registry. They are never sent to another host. */
export interface RegistryAuth {
  readonly username: string;
  readonly password: string;
}

/** One repository of an OCI distribution registry (specification 1.1). TLS, except on this machine. */
export class Repository implements ImageSource, ImageTarget {
  readonly registry: string;
  readonly name: string;
  readonly #base: string;
  readonly #auth: string | undefined;

  constructor(options: {
    readonly registry: string;
    readonly repository: string;
    readonly auth?: RegistryAuth;
  }) {
    this.registry = options.registry;
    this.name = options.repository;
    this.#base = `${isLoopback(options.registry) ? 'http' : 'https'}://${options.registry}/v2/${options.repository}`;
    this.#auth =
      options.auth === undefined
        ? undefined
        : `Basic ${Buffer.from(`${options.auth.username}:${options.auth.password}`).toString('base64')}`;
  }

  async manifest(reference: string): Promise<FoundManifest> {
    const response = await this.#get(`/manifests/${reference}`, { accept: ACCEPT });
    if (response === undefined) {
      throw ociError('OCI_NOT_FOUND', `${this.registry}/${this.name} has no manifest ${reference}.`);
    }
    const bytes = await body(response, MAX_MANIFEST, 'A manifest');
    const digest = digestOf(bytes);
    if (isDigest(reference) && digest !== reference) {
      throw ociError('OCI_DIGEST_MISMATCH', `What the registry gave for ${reference} is something else.`, {
        pointer: reference,
      });
    }
    const mediaType = (response.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? '';
    return { bytes, digest, mediaType };
  }

  async blob(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
    if (descriptor.size > maxBytes)
      throw ociError('OCI_TOO_LARGE', `${descriptor.digest} is longer than ${maxBytes} bytes.`);
    const bytes = await collect(await this.stream(descriptor), descriptor.size, descriptor.digest);
    return requireContent(bytes, descriptor);
  }

  async stream(descriptor: Descriptor): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#get(`/blobs/${descriptor.digest}`);
    if (response?.body === null || response === undefined) {
      throw ociError('OCI_NOT_FOUND', `${this.registry}/${this.name} has no blob ${descriptor.digest}.`);
    }
    return response.body;
  }

  /** Puts a blob there, unless it is there. */
  async pushBlob(bytes: Uint8Array): Promise<Descriptor> {
    const digest = digestOf(bytes);
    const descriptor = { mediaType: 'application/octet-stream', digest, size: bytes.length };
    const there = await this.#send('HEAD', `${this.#base}/blobs/${digest}`);
    if (there.ok) return descriptor;
    const start = await this.#send('POST', `${this.#base}/blobs/uploads/`);
    const location = start.headers.get('location');
    if (start.status !== 202 || location === null) throw await this.#failure('start an upload', start);
    const url = new URL(location, this.#base);
    url.searchParams.set('digest', digest);
    const done = await this.#send('PUT', url.toString(), {
      body: bytes,
      headers: { 'content-type': 'application/octet-stream' },
    });
    if (done.status !== 201) throw await this.#failure('store a blob', done);
    return descriptor;
  }

  /** Puts a manifest there, by tag or by its digest. */
  async pushManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    const digest = digestOf(bytes);
    const done = await this.#send('PUT', `${this.#base}/manifests/${tag ?? digest}`, {
      body: bytes,
      headers: { 'content-type': mediaType },
    });
    if (done.status !== 201) throw await this.#failure('store a manifest', done);
    return digest;
  }

  /**
   * Manifests that name `subject` as theirs, of one artifact type (distribution specification 1.1, "Listing
   * referrers"): the API, or where the registry has none, the tag `sha256-…`. What it lists is not believed.
   */
  async referrers(subject: Digest, artifactType: string): Promise<readonly Descriptor[]> {
    const listed = await this.#referrerIndex(subject);
    return listed.filter((descriptor) => descriptor.artifactType === artifactType).slice(0, MAX_REFERRERS);
  }

  /** Puts a referrer there and, where the registry has no referrers API, into the fallback index. */
  async pushReferrer(
    manifest: Uint8Array,
    subject: Digest,
    listing: Omit<Descriptor, 'digest' | 'size'>,
  ): Promise<Digest> {
    const response = await this.#send('PUT', `${this.#base}/manifests/${digestOf(manifest)}`, {
      body: manifest,
      headers: { 'content-type': MEDIA.manifest },
    });
    if (response.status !== 201) throw await this.#failure('store a referrer', response);
    const digest = digestOf(manifest);
    // A registry that keeps the list itself says so (specification 1.1, "Pushing Manifests with Subject").
    if (response.headers.get('oci-subject') === null) {
      await this.#addToFallback(subject, { ...listing, digest, size: manifest.length });
    }
    return digest;
  }

  async #referrerIndex(subject: Digest): Promise<readonly Descriptor[]> {
    const found: Descriptor[] = [];
    let path: string | undefined = `/referrers/${subject}`;
    // Attack: a registry whose every page names a next one.
    for (let page = 0; path !== undefined && page < MAX_PAGES; page++) {
      const response: Response | undefined = await this.#get(path, { accept: MEDIA.index });
      if (response === undefined) return page === 0 ? this.#fallback(subject) : found;
      path = this.#nextPage(response, `/referrers/${subject}`);
      found.push(...indexOf(await body(response, MAX_MANIFEST, 'A list of referrers'), MEDIA.index));
    }
    return found;
  }

  /** The next page of a list (RFC 8288, `rel="next"`), if it is of the same list: the registry chooses no other place. */
  #nextPage(response: Response, list: string): string | undefined {
    const [, target] = /<([^<>]{1,2048})>\s*;\s*rel="?next"?/.exec(response.headers.get('link') ?? '') ?? [];
    if (target === undefined || !URL.canParse(target, this.#base)) return undefined;
    const { origin, pathname, search } = new URL(target, this.#base);
    const own = new URL(`${this.#base}${list}`);
    return origin === own.origin && pathname === own.pathname ? `${list}${search}` : undefined;
  }

  async #fallback(subject: Digest): Promise<readonly Descriptor[]> {
    const response = await this.#get(`/manifests/${fallbackTag(subject)}`, { accept: MEDIA.index });
    if (response === undefined) return [];
    const mediaType = (response.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? '';
    return indexOf(await body(response, MAX_MANIFEST, 'A list of referrers'), mediaType);
  }

  /** Others write the index too: read, merge, write, and look whether the entry is still there. */
  async #addToFallback(subject: Digest, entry: Descriptor): Promise<void> {
    for (let attempt = 0; attempt < 8; attempt++) {
      const manifests = await this.#fallback(subject);
      if (manifests.some((descriptor) => descriptor.digest === entry.digest)) return;
      const index = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [...manifests, entry] };
      await this.pushManifest(Buffer.from(JSON.stringify(index)), MEDIA.index, fallbackTag(subject));
    }
    const manifests = await this.#fallback(subject);
    if (manifests.some((descriptor) => descriptor.digest === entry.digest)) return;
    throw ociError('OCI_REFERRERS', 'Others keep overwriting the list of referrers of this image.', {
      hint: 'Try again; or use a registry with the referrers API.',
    });
  }

  /** The response, or undefined for 404. */
  async #get(path: string, headers: Record<string, string> = {}): Promise<Response | undefined> {
    const response = await this.#send('GET', `${this.#base}${path}`, { headers });
    if (response.ok) return response;
    if (response.status === 404) {
      await response.body?.cancel();
      return undefined;
    }
    throw await this.#failure(`read ${path}`, response);
  }

  async #send(
    method: string,
    url: string,
    init: { body?: Uint8Array; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    // Attack: an upload address on another host would be sent the credentials.
    const own = new URL(url).host === new URL(this.#base).host;
    const headers = {
      ...init.headers,
      ...(this.#auth === undefined || !own ? {} : { authorization: this.#auth }),
    };
    try {
      return await fetch(url, {
        method,
        headers,
        // fetch drops the authorization header itself when a redirect leaves the host.
        redirect: method === 'GET' || method === 'HEAD' ? 'follow' : 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(init.body === undefined ? {} : { body: new Uint8Array(init.body) }),
      });
    } catch (cause) {
      throw ociError('OCI_UNREACHABLE', `The registry ${this.registry} does not answer.`, {
        hint: 'Is its address right, and does it speak TLS (plain HTTP is used on this machine only)?',
        cause,
      });
    }
  }

  async #failure(what: string, response: Response): Promise<Error> {
    await response.body?.cancel();
    return ociError(
      'OCI_REGISTRY',
      `The registry ${this.registry} answered ${response.status} when asked to ${what}.`,
    );
  }
}

/** The tag that stands in for the referrers API (specification 1.1, "Referrers Tag Schema"). */
function fallbackTag(subject: Digest): string {
  return subject.replace(':', '-');
}

function indexOf(bytes: Uint8Array, mediaType: string): readonly Descriptor[] {
  const index = parseManifest(bytes, mediaType);
  if (index.kind !== 'index') throw ociError('OCI_REFERRERS', 'The list of referrers is no index.');
  return index.manifests;
}

async function body(response: Response, maxBytes: number, what: string): Promise<Uint8Array> {
  if (response.body === null) return new Uint8Array(0);
  return collect(response.body, maxBytes, what);
}
