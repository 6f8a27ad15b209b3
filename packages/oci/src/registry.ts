import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, digestOf, isDigest, KallioError } from '@kallio/codec';
import { ociError } from './error.ts';
import { exchange } from './exchange.ts';
import type { Answer, Question, Streamed } from './http/connection.ts';
import type { FoundIndex } from './index-document.ts';
import type { FindCredentials } from './login/credentials.ts';
import { loginHint } from './login/hint.ts';
import type { Login } from './login/login.ts';
import { type Descriptor, MAX_MANIFEST, MEDIA } from './manifest.ts';
import { isLoopback } from './reference.ts';
import { listedIn, ReferrersTag, readAmongWriters, referrersTag } from './referrers-tag.ts';
import { type RegistryRefusal, refusalsOf, wordsOf } from './registry-error.ts';
import {
  checkedStream,
  collect,
  type FoundManifest,
  type ImageSource,
  requireContent,
  requireDigest,
} from './source.ts';
import type { ImageTarget } from './target.ts';

const ACCEPT = [MEDIA.index, MEDIA.manifest, MEDIA.dockerList, MEDIA.dockerManifest].join(', ');
/** How long a question may take, in milliseconds; to it comes the time for what is sent or fetched. */
const TIMEOUT_MS = 60_000;
/** The slowest connection that is put up with, in bytes a millisecond. A slower one may be there to keep us waiting. */
const SLOWEST = 256;
/** The most of that time, whatever size a hostile manifest claims. */
const MAX_TRANSFER_MS = 3_600_000;
/** How often a registry is shown something for one question: what there is, and something newer. */
const MAX_SHOWN = 2;
/** How often a manifest is put again whose blobs the registry says it doesn't know. */
const MAX_LAPSES = 5;
/** Most redirects that are followed. */
const MAX_REDIRECTS = 5;
/** Most pages of a list of referrers that are asked for. */
const MAX_PAGES = 16;

/** Registries that are spoken to under another name than the one that images bear. */
const SERVED_BY: ReadonlyMap<string, string> = new Map([['docker.io', 'registry-1.docker.io']]);

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
    credentials: async (...of) => (await import('./login/stored.ts')).storedCredentials(...of),
  });
}

/** One repository of an OCI distribution registry (specification 1.1). TLS, except on this machine. */
export class Repository implements ImageSource, ImageTarget {
  readonly registry: string;
  readonly name: string;
  readonly #base: string;
  readonly #find: FindCredentials;
  /** There once the registry has asked who asks. */
  #login: Login | undefined;
  /** It has no referrers API: whoever has one answers for every subject (specification 1.1), so it is asked once. */
  #listsNothing = false;
  /** What was added to lists that tags name, by whom it belongs to. */
  readonly #lists = new Map<Digest, ReferrersTag>();

  constructor(options: {
    readonly registry: string;
    readonly repository: string;
    /** Who asks, once the registry wants to know. Without it: nobody in particular. */
    readonly credentials?: FindCredentials;
  }) {
    this.registry = options.registry;
    this.name = options.repository;
    const host = SERVED_BY.get(options.registry) ?? options.registry;
    this.#base = `${isLoopback(host) ? 'http' : 'https'}://${host}/v2/${options.repository}`;
    this.#find = options.credentials ?? (async () => undefined);
  }

  async manifest(reference: string): Promise<FoundManifest> {
    const response = await this.#get(`/manifests/${reference}`, { accept: ACCEPT });
    if (response === undefined) {
      throw ociError('OCI_NOT_FOUND', `${this.registry}/${this.name} has no manifest ${reference}.`);
    }
    const bytes = await collect(response.body, MAX_MANIFEST, 'A manifest');
    const digest = digestOf(bytes);
    if (isDigest(reference) && digest !== reference) {
      throw ociError('OCI_DIGEST_MISMATCH', `What the registry gave for ${reference} is something else.`, {
        pointer: reference,
      });
    }
    const mediaType = mediaTypeOf(response);
    return { bytes, digest, mediaType };
  }

  async blob(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
    if (descriptor.size > maxBytes)
      throw ociError('OCI_TOO_LARGE', `${descriptor.digest} is longer than ${maxBytes} bytes.`);
    const bytes = await collect(await this.stream(descriptor), descriptor.size, descriptor.digest);
    return requireContent(bytes, descriptor);
  }

  async content(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined> {
    const response = await this.#get(`/blobs/${digest}`, {}, maxBytes);
    return response === undefined
      ? undefined
      : requireDigest(await collect(response.body, maxBytes, digest), digest);
  }

  async stream(descriptor: Descriptor): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#get(`/blobs/${descriptor.digest}`, {}, descriptor.size);
    if (response === undefined) {
      throw ociError('OCI_NOT_FOUND', `${this.registry}/${this.name} has no blob ${descriptor.digest}.`);
    }
    return response.body;
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

  async #hasBlob(digest: Digest): Promise<boolean> {
    const there = await this.#send('HEAD', `${this.#base}/blobs/${digest}`);
    there.drop();
    return there.status === 200;
  }

  async #upload(digest: Digest, body: Uint8Array | Streamed): Promise<void> {
    const start = await this.#send('POST', `${this.#base}/blobs/uploads/`);
    const location = start.header('location');
    if (start.status !== 202 || location === undefined) throw await this.#failure('start an upload', start);
    start.drop();
    const url = this.#led(new URL(this.#base), location);
    url.searchParams.set('digest', digest);
    const done = await this.#send('PUT', url.toString(), {
      body,
      headers: { 'content-type': 'application/octet-stream' },
    });
    if (done.status !== 201) throw await this.#failure('store a blob', done);
    done.drop();
  }

  /**
   * Puts a manifest there, by tag or by its digest. Its blobs must be there. A tag moves once what was attached before is
   * settled: whoever finds the image by it finds its signature.
   */
  async pushManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    const digest = digestOf(bytes);
    if (tag !== undefined) await this.settle();
    const done = await this.#putManifest('store a manifest', tag ?? digest, bytes, mediaType);
    done.drop();
    return digest;
  }

  async #putManifest(what: string, name: string, body: Uint8Array, mediaType: string): Promise<Answer> {
    const headers = { 'content-type': mediaType };
    for (let attempt = 0; ; attempt++) {
      const response = await this.#send('PUT', `${this.#base}/manifests/${name}`, { body, headers });
      if (response.status === 201) return response;
      const refusals = await refusalsOf(response);
      // docker-registry doesn't find a blob whose file another writer is just replacing with the same.
      const lapse = refusals.some(({ code }) => code === 'MANIFEST_BLOB_UNKNOWN');
      if (!lapse || attempt === MAX_LAPSES) throw this.#refused(what, response.status, refusals);
      await wait(20 * 2 ** attempt);
    }
  }

  /**
   * Manifests that name `subject` as theirs, of these artifact types, each type's together (distribution specification
   * 1.1, "Listing referrers"): the API, or where the registry has none, the tag `sha256-…`. What it lists is not believed,
   * and may be a flood: whoever takes so many of it puts the likely ones first.
   */
  async referrers(subject: Digest, ...artifactTypes: readonly string[]): Promise<readonly Descriptor[]> {
    const listed = await this.#referrerIndex(subject);
    return artifactTypes.flatMap((type) => listed.filter((descriptor) => descriptor.artifactType === type));
  }

  /** Puts a referrer there and, where the registry has no referrers API, into the fallback index. */
  async pushReferrer(
    manifest: Uint8Array,
    subject: Digest,
    listing: Omit<Descriptor, 'digest' | 'size'>,
  ): Promise<Digest> {
    const digest = digestOf(manifest);
    const response = await this.#putManifest('store a referrer', digest, manifest, MEDIA.manifest);
    response.drop();
    // A registry that keeps the list itself says so (specification 1.1, "Pushing Manifests with Subject").
    if (response.header('oci-subject') === undefined) {
      await this.#addToFallback(subject, { ...listing, digest, size: manifest.length });
    }
    return digest;
  }

  async #referrerIndex(subject: Digest): Promise<readonly Descriptor[]> {
    if (this.#listsNothing) return this.#fallback(subject);
    const found: Descriptor[] = [];
    let path: string | undefined = `/referrers/${subject}`;
    for (let page = 0; path !== undefined; page++) {
      // Attack: a registry whose every page names a next one. Without its end the list would hide what is not wanted.
      if (page === MAX_PAGES) {
        throw ociError('OCI_REFERRERS', `The list of referrers has more than ${MAX_PAGES} pages.`, {
          hint: 'Somebody may be flooding this image. Remove what is attached to it and is not yours.',
        });
      }
      const response: Answer | undefined = await this.#get(path, { accept: MEDIA.index });
      if (response === undefined && page === 0) {
        this.#listsNothing = true;
        return this.#fallback(subject);
      }
      if (response === undefined) return found;
      path = this.#nextPage(response, `/referrers/${subject}`);
      const bytes = await collect(response.body, MAX_MANIFEST, 'A list of referrers');
      found.push(...listedIn({ bytes, mediaType: MEDIA.index }));
    }
    return found;
  }

  /** The next page of a list (RFC 8288, `rel="next"`), if it is of the same list: the registry chooses no other place. */
  #nextPage(response: Answer, list: string): string | undefined {
    const [, target] = /<([^<>]{1,2048})>\s*;\s*rel="?next"?/.exec(response.header('link') ?? '') ?? [];
    if (target === undefined || !URL.canParse(target, this.#base)) return undefined;
    const { origin, pathname, search } = new URL(target, this.#base);
    const own = new URL(`${this.#base}${list}`);
    return origin === own.origin && pathname === own.pathname ? `${list}${search}` : undefined;
  }

  async #fallback(subject: Digest): Promise<readonly Descriptor[]> {
    const found = await readAmongWriters(() => this.#listAt(subject));
    return found === undefined ? [] : listedIn(found);
  }

  async #listAt(subject: Digest): Promise<FoundIndex | undefined> {
    const response = await this.#get(`/manifests/${referrersTag(subject)}`, { accept: MEDIA.index });
    if (response === undefined) return undefined;
    const mediaType = mediaTypeOf(response);
    return { bytes: await collect(response.body, MAX_MANIFEST, 'A list of referrers'), mediaType };
  }

  async #addToFallback(subject: Digest, entry: Descriptor): Promise<void> {
    const list =
      this.#lists.get(subject) ??
      new ReferrersTag({
        read: () => this.#listAt(subject),
        write: async (bytes, mediaType) => {
          const done = await this.#putManifest('list a referrer', referrersTag(subject), bytes, mediaType);
          done.drop();
        },
      });
    this.#lists.set(subject, list);
    await list.add(entry);
  }

  /** Waits until what was listed by a tag stays listed, whoever else writes that tag; `OCI_REFERRERS` where it never does. */
  async settle(): Promise<void> {
    await Promise.all([...this.#lists.values()].map((list) => list.settle()));
  }

  /** The answer, or undefined for 404. `size` is how many bytes are expected. */
  async #get(path: string, headers: Record<string, string> = {}, size = 0): Promise<Answer | undefined> {
    const response = await this.#send('GET', `${this.#base}${path}`, { headers, size });
    if (response.status === 200) return response;
    if (response.status !== 404) throw await this.#failure(`read ${path}`, response);
    response.drop();
    return undefined;
  }

  async #send(
    method: 'GET' | 'HEAD' | 'POST' | 'PUT',
    address: string,
    {
      body,
      headers,
      size = 0,
    }: { body?: Uint8Array | Streamed; headers?: Record<string, string>; size?: number } = {},
  ): Promise<Answer> {
    const transferMs = Math.min(Math.max(size, body?.length ?? 0) / SLOWEST, MAX_TRANSFER_MS);
    const budgetMs = Math.ceil(TIMEOUT_MS + transferMs);
    let url = new URL(address);
    // Attack: an upload address or a redirect on another host would be sent the credentials; or would lead back to what it
    // wants to have read with them.
    let own = true;
    for (let redirects = 0; ; redirects++) {
      own &&= this.#isOwn(url);
      const question = { method, url, headers: headers ?? {}, body, budgetMs };
      const answer = await (own ? this.#askAsKnown(question) : this.#ask(question));
      const location = answer.header('location');
      const elsewhere = REDIRECTS.has(answer.status) && location !== undefined;
      // What is sent stays here: only reading is led elsewhere.
      if (!elsewhere || method === 'POST' || method === 'PUT') return answer;
      answer.drop();
      url = this.#led(url, location);
      // Attack: round and round.
      if (redirects >= MAX_REDIRECTS) throw this.#astray();
    }
  }

  /** Asks as whom the registry lets ask; as nobody in particular until it wants to know. */
  async #askAsKnown(question: Question): Promise<Answer> {
    const { method, headers, body } = question;
    const actions = method === 'GET' || method === 'HEAD' ? 'pull' : 'pull,push';
    // What is sent as it comes can't be sent again. Before it, its upload was begun by somebody who was known.
    const once = body !== undefined && !(body instanceof Uint8Array);
    let authorization = await this.#login?.header(actions);
    for (let shown = 0; ; shown++) {
      const known = authorization === undefined ? headers : { ...headers, authorization };
      const answer = await this.#ask({ ...question, headers: known });
      if (answer.status !== 401 || once || shown === MAX_SHOWN) return answer;
      answer.drop();
      const login = await this.#loggedIn();
      const other = await login.challenged(answer.header('www-authenticate'), authorization, actions);
      if (other === undefined || other === authorization) throw this.#denied(answer.status);
      authorization = other;
    }
  }

  async #loggedIn(): Promise<Login> {
    const { Login } = await import('./login/login.ts');
    const { registry, name } = this;
    const protocol = isLoopback(registry) ? 'http:' : 'https:';
    this.#login ??= new Login({ registry, repository: name, protocol }, this.#find);
    return this.#login;
  }

  /**
   * Where a registry's answer leads. Attack: from TLS to a connection that anybody on the way reads and writes; from this
   * machine to such a one on another.
   */
  #led(from: URL, location: string): URL {
    if (!URL.canParse(location, from.href)) throw this.#astray();
    const to = new URL(location, from.href);
    const plain = to.protocol === 'http:' && from.protocol === 'http:' && isLoopback(to.host);
    if (to.protocol !== 'https:' && !plain) throw this.#astray();
    return to;
  }

  #astray(): Error {
    return ociError('OCI_REGISTRY', `The registry ${this.registry} leads to where it is not followed.`);
  }

  async #ask(question: Question): Promise<Answer> {
    try {
      const answer = await exchange(question);
      return { ...answer, body: this.#unbroken(answer.body, question.url) };
    } catch (cause) {
      // What was sent was refused on its way: that says more than that the question broke off.
      if (cause instanceof KallioError) throw cause;
      throw this.#unreachable(cause, question.url);
    }
  }

  /** A body whose connection breaks ends like a registry that does not answer, which is what it is. */
  async *#unbroken(body: AsyncIterable<Uint8Array>, url: URL): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (cause) {
      throw this.#unreachable(cause, url);
    }
  }

  #unreachable(cause: unknown, url: URL): Error {
    const led = this.#isOwn(url) ? '' : ` leads to ${url.host}, which`;
    return ociError(
      'OCI_UNREACHABLE',
      `The registry ${this.registry}${led} does not answer${whyOf(cause)}.`,
      {
        hint: 'Is its address right, and does it speak TLS (plain HTTP is used on this machine only)?',
        cause,
      },
    );
  }

  #isOwn(url: URL): boolean {
    return url.origin === new URL(this.#base).origin;
  }

  async #failure(what: string, response: Answer): Promise<Error> {
    return this.#refused(what, response.status, await refusalsOf(response));
  }

  /** What a registry would not do, in its own words as well. */
  #refused(what: string, status: number, refusals: readonly RegistryRefusal[]): Error {
    const words = refusals.length === 0 ? '' : `: ${wordsOf(refusals)}`;
    if (status === 401 || status === 403) return this.#denied(status, words);
    return ociError(
      'OCI_REGISTRY',
      `The registry ${this.registry} answered ${status} when asked to ${what}${words}.`,
    );
  }

  #denied(status: number, words = ''): Error {
    return ociError(
      'OCI_DENIED',
      `The registry ${this.registry} does not let this be done in ${this.name} (${status})${words}.`,
      { hint: loginHint(this.registry) },
    );
  }
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** In a word what went wrong (`ENOTFOUND`, `CERT_HAS_EXPIRED`), or in a few. */
function whyOf(cause: unknown): string {
  if (!(cause instanceof Error)) return '';
  return ` (${'code' in cause ? String(cause.code) : cause.message})`;
}

function mediaTypeOf(answer: Answer): string {
  return (answer.header('content-type') ?? '').split(';')[0]?.trim() ?? '';
}
