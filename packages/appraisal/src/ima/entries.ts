import { sha256, toHex } from '@kallio/codec';
import {
  decodeImaEntry,
  type ImaEntry,
  type ImaMeasurement,
  usualDigestStart,
  usualName,
} from '@kallio/evidence';
import { because } from '../codes.ts';
import type { KeptIma, UnmatchedEntry } from '../continuity.ts';
import type { DigestIndex } from '../reference-set/digests.ts';
import type { DigestKind } from '../reference-set/set.ts';
import { hasReference, isStrong, referenceOf, VIOLATION } from './digest.ts';
import type { ImaFacts, ImaVerdict } from './facts.ts';
import { noReference, refusalOfEntry } from './refusals.ts';

/** Most entries without reference value that are kept; what has more is past saving. */
const MAX_UNMATCHED = 256;
const MAX_NAME = 512;
/** Entries that are looked up together. */
const BATCH = 64;
const NO_BYTES = new DataView(new ArrayBuffer(0));
const SHA256_BYTES = 32;
const BOOT_AGGREGATE = 'boot_aggregate';
const AGGREGATED_PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** Judges entries by their reference values as they are replayed. */
export class EntryJudge {
  readonly #start: KeptIma;
  readonly #facts: ImaFacts;
  readonly #unmatched: UnmatchedEntry[];
  /** Entries that are known by an announced update alone. They count once a quote has covered them. */
  readonly #used: { readonly id: string; readonly pointer?: string }[];
  /** Reference values of every file, where the policy tells no paths apart. */
  readonly #ofAll: DigestIndex | undefined;
  /** Whether the usual entry's class can be told without its name's text. */
  readonly #readsBytes: boolean;
  /** Entries whose digests are looked up together, all of one kind and length and in one buffer; each in its own index. */
  readonly #batch: ImaEntry[] = [];
  readonly #indexes: DigestIndex[] = [];
  readonly #starts = new Uint32Array(BATCH);
  #view: DataView = NO_BYTES;
  #length = 0;
  #kind: DigestKind = 'file';
  #overflow: boolean;
  #entries: number;

  constructor(start: KeptIma, facts: ImaFacts) {
    this.#start = start;
    this.#facts = facts;
    this.#unmatched = [...start.unmatched];
    this.#used = (start.updates ?? []).map((id) => ({ id }));
    this.#overflow = start.overflow;
    this.#entries = start.entries;
    const { ima } = facts.policy;
    this.#ofAll = ima?.digests.get(ima.classes.ofAll ?? '')?.index;
    this.#readsBytes = ima?.classes.readsBytes ?? false;
  }

  take(entry: ImaEntry): void {
    this.#entries++;
    const isFile = entry.index > 0 && !entry.violation;
    const start = isFile && this.#readsBytes ? usualDigestStart(entry) : -1;
    const known = start === -1 ? undefined : this.#indexOf(entry, start);
    if (known !== undefined) {
      this.#queue(entry, known, 'file', start, SHA256_BYTES);
      return;
    }
    const measured = decodeImaEntry(entry);
    const { digest } = measured;
    const index = isFile ? this.#indexFor(measured) : undefined;
    if (index === undefined) {
      this.#judgeBatch();
      this.#judge(entry, measured);
      return;
    }
    const kind = digest.type === 'verity' ? 'verity' : 'file';
    this.#queue(entry, index, kind, digest.start, digest.end - digest.start);
  }

  /** Reference values that an entry may be among; only of those that are not are name and digest written out. */
  #indexFor(measured: ImaMeasurement): DigestIndex | undefined {
    const { ima } = this.#facts.policy;
    if (ima === undefined || !isStrong(measured.digest)) return undefined;
    return this.#ofAll ?? ima.digests.get(ima.classes.of(measured.name) ?? '')?.index;
  }

  /** The same for an entry of the usual form, without a text being made of its name. */
  #indexOf(entry: ImaEntry, digestStart: number): DigestIndex | undefined {
    const { ima } = this.#facts.policy;
    if (this.#ofAll !== undefined || ima === undefined) return this.#ofAll;
    const { start, end } = usualName(entry, digestStart);
    return ima.digests.get(ima.classes.ofBytes(entry.data, start, end) ?? '')?.index;
  }

  #queue(entry: ImaEntry, index: DigestIndex, kind: DigestKind, start: number, length: number): void {
    const { buffer, byteOffset } = entry.data;
    const alike = kind === this.#kind && length === this.#length && buffer === this.#view.buffer;
    if (!alike || this.#batch.length === BATCH) {
      this.#judgeBatch();
      this.#kind = kind;
      this.#length = length;
      if (buffer !== this.#view.buffer) this.#view = new DataView(buffer);
    }
    this.#starts[this.#batch.length] = byteOffset + start;
    this.#indexes.push(index);
    this.#batch.push(entry);
  }

  #judgeBatch(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    const found = this.#lookUp();
    for (let i = 0; i < batch.length; i++) {
      const entry = batch[i];
      if (found[i] !== 1 && entry !== undefined) this.#judge(entry, decodeImaEntry(entry));
    }
    batch.length = 0;
    this.#indexes.length = 0;
  }

  /** 1 for each entry of the batch whose digest is in its index. */
  #lookUp(): Uint8Array {
    const indexes = this.#indexes;
    const places = { view: this.#view, starts: this.#starts, count: indexes.length, length: this.#length };
    const [first, ...others] = new Set(indexes);
    if (first === undefined) return new Uint8Array();
    if (others.length === 0) return first.hasEach(this.#kind, places);
    const found = new Uint8Array(indexes.length);
    for (const index of [first, ...others]) {
      const of = Uint32Array.from(indexes.keys()).filter((i) => indexes[i] === index);
      const starts = of.map((i) => this.#starts[i] ?? 0);
      const those = index.hasEach(this.#kind, { ...places, starts, count: starts.length });
      for (const [k, i] of of.entries()) found[i] = those[k] ?? 0;
    }
    return found;
  }

  #judge(entry: ImaEntry, { name, digest }: ImaMeasurement): void {
    // The first entry ties the list to what the firmware measured in this boot.
    const reference = entry.violation ? VIOLATION : referenceOf(digest);
    if (
      entry.index === 0
        ? name === BOOT_AGGREGATE && this.#isAggregate(reference)
        : this.#known(entry.index, name, reference)
    ) {
      return;
    }
    if (this.#unmatched.length >= MAX_UNMATCHED) this.#overflow = true;
    else {
      this.#unmatched.push({
        index: entry.index,
        name: name.slice(0, MAX_NAME).toWellFormed(),
        digest: reference,
      });
    }
  }

  /** Stops a list that was begun in another boot, on other firmware, or before the TPM was there. */
  #isAggregate(digest: string): boolean {
    const { quoted } = this.#facts;
    const pcrs = AGGREGATED_PCRS.flatMap((pcr) => quoted.get(pcr) ?? []);
    return this.#hasAggregated() && digest === toHex(sha256(...pcrs));
  }

  #hasAggregated(): boolean {
    return AGGREGATED_PCRS.every((pcr) => this.#facts.quoted.has(pcr));
  }

  #known(index: number, name: string, digest: string): boolean {
    const { policy, windows, inImage } = this.#facts;
    if (digest === VIOLATION) return policy.ima?.violations.has(name) ?? false;
    const own = policy.ima?.classes.of(name);
    const held = own === undefined ? undefined : policy.ima?.digests.get(own);
    if (hasReference(held?.index, digest)) return true;
    if (held?.hostOnly !== true && inImage(digest)) return true;
    const update = own && windows.valid.find(({ ima }) => hasReference(ima.get(own), digest));
    if (!update) return false;
    this.#used.push({ id: update.id, pointer: `ima:${index}` });
    return true;
  }

  /**
   * The log goes on in the next message. What was shown counts for nothing until a quote covers it: the value replayed
   * so far is what the next entries have to lead on from, to a quoted PCR 10.
   */
  part(pcr: Uint8Array): ImaVerdict {
    this.#judgeBatch();
    const kept = this.#kept(pcr, this.#unmatched, undefined);
    return {
      kept: { ...kept, unproven: true },
      refusals: [
        because('LOG_INCOMPLETE', `The IMA log was shown up to entry ${this.#entries}, and goes on.`, {
          pointer: `ima:${this.#entries}`,
        }),
      ],
      explained: false,
    };
  }

  finish(pcr: Uint8Array, ahead: ImaEntry | undefined): ImaVerdict {
    this.#judgeBatch();
    const unmatched = this.#unmatched.filter(
      ({ index, name, digest }) => index === 0 || !this.#known(index, name, digest),
    );
    const { policy, windows } = this.#facts;
    for (const { id, pointer } of this.#used) windows.use(id, pointer);
    // Whose boot the list belongs to is no matter of policy, as long as the quote says what was aggregated.
    const judged =
      policy.ima !== undefined
        ? unmatched
        : unmatched.filter(({ index }) => index === 0 && this.#hasAggregated());
    const refusals = judged.map((entry) => refusalOfEntry(entry, policy.ima, windows));
    if (policy.ima === undefined) refusals.push(noReference());
    if (this.#overflow && policy.ima !== undefined) {
      refusals.push(
        because(
          'IMA_FILE_UNKNOWN',
          `More than ${MAX_UNMATCHED} entries of the IMA log have no reference value.`,
        ),
      );
    }
    return { kept: this.#kept(pcr, unmatched, ahead), refusals, explained: true };
  }

  #kept(pcr: Uint8Array, unmatched: readonly UnmatchedEntry[], ahead: ImaEntry | undefined): KeptIma {
    const start = this.#start;
    const nothingNew = this.#entries === start.entries && start.unproven !== true;
    const sameUnmatched = unmatched.length === start.unmatched.length;
    const sameUpdates = this.#used.length === (start.updates?.length ?? 0);
    if (nothingNew && sameUnmatched && sameUpdates && ahead === undefined && start.ahead === undefined) {
      return start;
    }
    return {
      entries: this.#entries,
      pcr: toHex(pcr),
      policy: this.#start.policy,
      unmatched,
      overflow: this.#overflow,
      ...(this.#used.length === 0 ? {} : { updates: [...new Set(this.#used.map(({ id }) => id))] }),
      ...(ahead === undefined ? {} : { ahead: toHex(sha256(ahead.data)) }),
    };
  }
}
