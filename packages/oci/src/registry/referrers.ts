import type { Digest } from '@kallio/codec';
import { ociError } from '../error.ts';
import type { Answer } from '../http/connection.ts';
import type { FoundIndex } from '../index-document.ts';
import { type Descriptor, MAX_MANIFEST, MEDIA } from '../manifest.ts';
import { collect } from '../source.ts';
import type { RegistryClient } from './client.ts';
import { mediaTypeOf } from './media-type.ts';
import { listedIn, ReferrersTag, readAmongWriters, referrersTag } from './referrers-tag.ts';

/** Most pages of a list of referrers that are asked for. */
const MAX_PAGES = 16;

/** Puts a list there, by its tag. */
type PutList = (tag: string, bytes: Uint8Array, mediaType: string) => Promise<void>;

/**
 * What a repository lists as belonging to its images (distribution specification 1.1, "Listing referrers"): by the API, or
 * where the registry has none, under the tag `sha256-…`.
 */
export class Referrers {
  readonly #client: RegistryClient;
  readonly #put: PutList;
  /** It has no referrers API: whoever has one answers for every subject (specification 1.1), so it is asked once. */
  #listsNothing = false;
  /** What was added to lists that tags name, by whom it belongs to. */
  readonly #lists = new Map<Digest, ReferrersTag>();

  constructor(client: RegistryClient, put: PutList) {
    this.#client = client;
    this.#put = put;
  }

  /** All that is listed of this image. It is not believed, and may be a flood. */
  async of(subject: Digest): Promise<readonly Descriptor[]> {
    if (this.#listsNothing) return this.#tagged(subject);
    const found: Descriptor[] = [];
    let path: string | undefined = `/referrers/${subject}`;
    for (let page = 0; path !== undefined; page++) {
      // Attack: a registry whose every page names a next one. Without its end the list would hide what is not wanted.
      if (page === MAX_PAGES) {
        throw ociError('OCI_REFERRERS', `The list of referrers has more than ${MAX_PAGES} pages.`, {
          hint: 'Somebody may be flooding this image. Remove what is attached to it and is not yours.',
        });
      }
      const answer: Answer | undefined = await this.#client.get(path, { accept: MEDIA.index });
      if (answer === undefined && page === 0) {
        this.#listsNothing = true;
        return this.#tagged(subject);
      }
      if (answer === undefined) return found;
      path = this.#nextPage(answer, `/referrers/${subject}`);
      const bytes = await collect(answer.body, MAX_MANIFEST, 'A list of referrers');
      found.push(...listedIn({ bytes, mediaType: MEDIA.index }));
    }
    return found;
  }

  /** Lists one more under the image's tag, for a registry that keeps no list itself. */
  async add(subject: Digest, entry: Descriptor): Promise<void> {
    const list =
      this.#lists.get(subject) ??
      new ReferrersTag({
        read: () => this.#listAt(subject),
        write: (bytes, mediaType) => this.#put(referrersTag(subject), bytes, mediaType),
      });
    this.#lists.set(subject, list);
    await list.add(entry);
  }

  /** Waits until what was listed by a tag stays listed, whoever else writes that tag; `OCI_REFERRERS` where it never does. */
  async settle(): Promise<void> {
    await Promise.all([...this.#lists.values()].map((list) => list.settle()));
  }

  /** The next page of a list (RFC 8288, `rel="next"`), if it is of the same list: the registry chooses no other place. */
  #nextPage(answer: Answer, list: string): string | undefined {
    const { base } = this.#client;
    const [, target] = /<([^<>]{1,2048})>\s*;\s*rel="?next"?/.exec(answer.header('link') ?? '') ?? [];
    if (target === undefined || !URL.canParse(target, base)) return undefined;
    const { origin, pathname, search } = new URL(target, base);
    const own = new URL(`${base}${list}`);
    return origin === own.origin && pathname === own.pathname ? `${list}${search}` : undefined;
  }

  async #tagged(subject: Digest): Promise<readonly Descriptor[]> {
    const found = await readAmongWriters(() => this.#listAt(subject));
    return found === undefined ? [] : listedIn(found);
  }

  async #listAt(subject: Digest): Promise<FoundIndex | undefined> {
    const answer = await this.#client.get(`/manifests/${referrersTag(subject)}`, { accept: MEDIA.index });
    if (answer === undefined) return undefined;
    const mediaType = mediaTypeOf(answer, this.#client);
    return { bytes: await collect(answer.body, MAX_MANIFEST, 'A list of referrers'), mediaType };
  }
}
