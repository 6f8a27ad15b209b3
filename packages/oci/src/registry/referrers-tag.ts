import { randomInt } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, type Json, KallioError } from '@kallio/codec';
import { nowMs } from '../clock.ts';
import { ociError } from '../error.ts';
import { type FoundIndex, rewrittenIndex } from '../index-document.ts';
import { type Descriptor, MEDIA, parseManifest } from '../manifest.ts';

/** How often the list is read, or written, for one entry before others have it. */
const MAX_TURNS = 8;
/** How long an entry must stay in the list at least, and at most, in milliseconds, before it is taken for settled. */
const SETTLED_MS = { least: 200, most: 5000 };
/** How long a registry is given to have an entry, or to answer, in milliseconds: whatever it does. */
const MAX_MS = 60_000;
const MAX_LAPSE_MS = 5000;
/** So many times as long as this writer took from reading the list to having written it: others take as long. */
const OTHERS_TAKE = 4;

/** The tag of one image in a registry. */
export interface ListStore {
  /** Undefined where there is none. */
  read(): Promise<FoundIndex | undefined>;
  write(bytes: Uint8Array, mediaType: string): Promise<void>;
}

/** The tag that stands in for the referrers API (distribution specification 1.1, "Referrers Tag Schema"). */
export function referrersTag(subject: Digest): string {
  return subject.replace(':', '-');
}

/** What a list names; `OCI_REFERRERS` where it is none. */
export function listedIn({ bytes, mediaType }: FoundIndex): readonly Descriptor[] {
  const index = parseManifest(bytes, mediaType);
  if (index.kind !== 'index') throw ociError('OCI_REFERRERS', 'The list of referrers is no index.');
  return index.manifests;
}

/**
 * Reads a list while others write it. docker-registry answers 500 for a tag whose file is just being replaced; it is asked
 * again for a second or so.
 */
export async function readAmongWriters<T>(read: () => Promise<T>): Promise<T> {
  const until = nowMs() + MAX_LAPSE_MS;
  for (let attempt = 0; ; attempt++) {
    try {
      return await read();
    } catch (error) {
      const lapse = error instanceof KallioError && error.code === 'OCI_REGISTRY';
      if (!lapse || attempt === MAX_TURNS - 2 || nowMs() > until) throw error;
      await wait(randomInt(10, 20) * 2 ** Math.min(attempt, 4));
    }
  }
}

/**
 * What one writer adds to the list of an image's referrers that a tag names. Others write the same tag, and a registry keeps
 * whatever came last: nobody is told that he wrote over another's entry. So each writer looks again, after a random time, and
 * adds what is missing of its own. Everything else in the list is left as it is, known or not.
 */
export class ReferrersTag {
  readonly #store: ListStore;
  readonly #entries: Descriptor[] = [];
  /** One thing at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** When the list was written last, and the longest that it took since it was read; by a clock that is never put back. */
  #wroteMs: number | undefined;
  #tookMs = 0;

  constructor(store: ListStore) {
    this.#store = store;
  }

  /** Adds an entry, and looks whether it is there. Another may still write over it: see {@link settle}. */
  add(entry: Descriptor): Promise<void> {
    this.#entries.push(entry);
    return this.#inTurn(async () => {
      await this.#merge(nowMs() + MAX_MS);
    });
  }

  /** Waits until everything that was added has been there for as long as another takes to write the list. */
  settle(): Promise<void> {
    return this.#inTurn(async () => {
      const until = nowMs() + MAX_MS;
      for (let turn = 0; turn < MAX_TURNS; turn++) {
        if (this.#wroteMs === undefined) return;
        const least = Math.min(Math.max(SETTLED_MS.least, OTHERS_TAKE * this.#tookMs), SETTLED_MS.most);
        // At random: two who look at the same time would write at the same time.
        const settledMs = this.#wroteMs + randomInt(Math.ceil(least), Math.ceil(least * 1.5));
        await wait(Math.max(0, settledMs - nowMs()));
        if (!(await this.#merge(until))) {
          // From now on it is as others will have it: who takes an entry away means to.
          this.#wroteMs = undefined;
          this.#entries.length = 0;
          return;
        }
      }
      throw overwritten();
    });
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(act);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Writes what is missing until nothing is; true where something was. */
  async #merge(until: number): Promise<boolean> {
    for (let turn = 0; turn < MAX_TURNS && nowMs() < until; turn++) {
      if (turn > 1) await wait(randomInt(10, 20) * 2 ** turn);
      const readMs = nowMs();
      const found = await readAmongWriters(() => this.#store.read());
      const missing = missingIn(found, this.#entries);
      if (missing.length === 0) return turn > 0;
      await this.#store.write(withEntries(found, missing), found?.mediaType ?? MEDIA.index);
      this.#wroteMs = nowMs();
      this.#tookMs = Math.max(this.#tookMs, this.#wroteMs - readMs);
    }
    if (missingIn(await readAmongWriters(() => this.#store.read()), this.#entries).length > 0)
      throw overwritten();
    return true;
  }
}

/** Attack: an entry of this digest and another type, which keeps the real one from being added and found. */
function missingIn(found: FoundIndex | undefined, entries: readonly Descriptor[]): readonly Descriptor[] {
  const listed = found === undefined ? [] : listedIn(found);
  return entries.filter(
    ({ digest, artifactType }) =>
      !listed.some((other) => other.digest === digest && other.artifactType === artifactType),
  );
}

/** The list with these entries, and with everything else that was in it. */
function withEntries(found: FoundIndex | undefined, entries: readonly Descriptor[]): Uint8Array {
  const replaced = new Set<Json | undefined>(entries.map(({ digest }) => digest));
  try {
    return rewrittenIndex(found, (listed) => [
      ...listed.filter(({ digest }) => !replaced.has(digest)),
      ...entries,
    ]);
  } catch (cause) {
    if (!(cause instanceof KallioError) || cause.code !== 'OCI_TOO_LARGE') throw cause;
    // Attack: a list that is filled up, so that with one entry more nobody could read it.
    throw ociError('OCI_REFERRERS', 'The list of referrers of this image is full.', {
      hint: 'Somebody may be flooding this image. Remove what is attached to it and is not yours.',
      cause,
    });
  }
}

function overwritten(): Error {
  return ociError('OCI_REFERRERS', 'Others keep overwriting the list of referrers of this image.', {
    hint: 'Try again; or use a registry with the referrers API.',
  });
}
