import { fromHex, type Refusal, sha256, toHex } from '@kallio/codec';
import {
  decodeImaEntry,
  IMA_PCR,
  type ImaDigest,
  type ImaEntry,
  type ImaMeasurement,
  ImaReplay,
  imaBytes,
  imaEntries,
  type ShownIma,
  zeroPcr,
} from '@kallio/evidence';
import { type AppraisalCode, because, refusalOf } from './codes.ts';
import type { KeptIma, UnmatchedEntry } from './continuity.ts';
import type { CompiledPolicy, ImaReferences } from './policy/compile.ts';
import type { DigestIndex } from './reference-set/digests.ts';
import type { DigestKind } from './reference-set/set.ts';
import type { UpdateWindows } from './updates.ts';

/** Most entries without reference value that are kept; what has more is past saving. */
const MAX_UNMATCHED = 256;
const MAX_NAME = 512;
/** Entries that are looked up together. */
const BATCH = 64;
/** Digest algorithms that a reference value may be of. */
const STRONG: ReadonlySet<string> = new Set(['sha256', 'sha384', 'sha512']);
const VIOLATION = 'violation';
const VERITY = 'verity:';
const BOOT_AGGREGATE = 'boot_aggregate';
const AGGREGATED_PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** What an IMA log is judged by. */
export interface ImaFacts {
  readonly shown: ShownIma | undefined;
  readonly previous: KeptIma | undefined;
  readonly quoted: ReadonlyMap<number, Uint8Array>;
  readonly policy: CompiledPolicy;
  readonly windows: UpdateWindows;
  /** True for the SHA-256 of a file of an image whose instances run, or ran in this boot. */
  readonly inImage: (digest: string) => boolean;
}

/** What the IMA log came to. */
export interface ImaVerdict {
  readonly kept?: KeptIma;
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** True when the log leads to the quoted PCR 10, so that what it lists is all that was measured. */
  readonly explained: boolean;
}

/** Replays the IMA log from where it was judged last to the quoted PCR 10, and judges its entries. */
export function judgeIma(facts: ImaFacts): ImaVerdict {
  const { shown, quoted, policy } = facts;
  if (policy.missingSets.length > 0) return refused(facts.previous, missingSets(policy));
  // Entries that another policy let pass have to be judged again: from the first one.
  const held = facts.previous?.policy === policy.digest ? facts.previous : undefined;
  // What the machine does not show again was judged by another policy: it can't know that yet, and is to be asked.
  if (shown === undefined && held === undefined && facts.previous !== undefined && policy.ima !== undefined) {
    return refused(facts.previous, judgedOtherwise(facts.previous));
  }
  if (shown === undefined && held === undefined) {
    return { refusals: policy.ima === undefined ? [] : [missing()], explained: false };
  }
  const value = quoted.get(IMA_PCR);
  if (value === undefined) {
    return refused(
      held,
      because('LOG_WITHOUT_QUOTE', `PCR ${IMA_PCR} is not quoted, so nothing proves the IMA log.`, {
        pointer: `pcr:${IMA_PCR}`,
      }),
    );
  }
  const start: KeptIma = held ?? {
    entries: 0,
    pcr: toHex(zeroPcr('sha256')),
    policy: policy.digest,
    unmatched: [],
    overflow: false,
  };
  const from = shown?.from ?? start.entries;
  // Stops entries from being skipped, and a position of an earlier boot from being kept in this one.
  if (from !== start.entries) {
    return refused(
      held,
      because(
        'LOG_POSITION',
        `The IMA log is shown from entry ${from}, but in this boot, by this policy, it was judged up to entry ${start.entries}.`,
        { pointer: '/ima/from', hint: 'Ask for a nonce: its answer says where to go on from.' },
      ),
    );
  }
  try {
    const bytes = shown === undefined ? new Uint8Array() : imaBytes(shown);
    return replay(start, bytes, value, facts);
  } catch (cause) {
    return refused(held, refusalOf(cause, 'IMA_MALFORMED'));
  }
}

/**
 * Takes entries until they lead to the quoted value. A log may be ahead of its quote, by entries that were added between
 * reading and quoting; they prove nothing yet and are to be shown again.
 */
function replay(start: KeptIma, bytes: Uint8Array, value: Uint8Array, facts: ImaFacts): ImaVerdict {
  const judge = new EntryJudge(start, facts);
  const replayed = new ImaReplay('sha256', { entries: start.entries, pcr: fromHex(start.pcr, 32) });
  let reached = replayed.isAt(value);
  let shown = 0;
  const log = imaEntries(bytes, { from: start.entries });
  for (let entry = log(); entry !== undefined; entry = log()) {
    const next = entry.index === start.entries ? toHex(sha256(entry.data)) : undefined;
    // Stops a log that is ahead of its quote for ever: what was shown before the last quote must be in this one.
    if (next !== undefined && start.ahead !== undefined && (next !== start.ahead || reached)) {
      return refused(
        start,
        because(
          'IMA_AHEAD',
          `Entry ${entry.index} of the IMA log was shown before, and no quote covers it.`,
          {
            pointer: `ima:${entry.index}`,
          },
        ),
      );
    }
    if (reached) return judge.finish(replayed.state.pcr, entry);
    shown++;
    replayed.extend(entry);
    judge.take(entry);
    reached = replayed.isAt(value);
  }
  if (!reached && facts.shown?.more === true && shown > 0) return judge.part(replayed.state.pcr);
  if (reached && (shown > 0 || start.ahead === undefined)) return judge.finish(replayed.state.pcr, undefined);
  return refused(
    // Entries that no quote has covered are not gone on from: the log is shown anew from the first one.
    start.entries === 0 || start.unproven === true ? undefined : start,
    // Stops an entry from being cut off, left out, added, changed or moved.
    because('IMA_MISMATCH', `The IMA log does not lead to the PCR ${IMA_PCR} that was quoted.`, {
      pointer: `pcr:${IMA_PCR}`,
    }),
  );
}

/** Judges entries by their reference values as they are replayed. */
class EntryJudge {
  readonly #start: KeptIma;
  readonly #facts: ImaFacts;
  readonly #unmatched: UnmatchedEntry[];
  /** Entries that are known by an announced update alone. They count once a quote has covered them. */
  readonly #used: { readonly id: string; readonly pointer?: string }[];
  /** Entries whose digests are looked up together, all in one index. */
  readonly #batch: ImaEntry[] = [];
  readonly #digests: ImaDigest[] = [];
  #index: DigestIndex | undefined;
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
  }

  take(entry: ImaEntry): void {
    this.#entries++;
    const measured = decodeImaEntry(entry);
    const kind = measured.digest.type === 'verity' ? 'verity' : 'file';
    const index = entry.index > 0 && !entry.violation ? this.#indexFor(measured) : undefined;
    if (index !== this.#index || kind !== this.#kind || this.#batch.length === BATCH) this.#judgeBatch();
    if (index === undefined) {
      this.#judge(entry, measured);
      return;
    }
    this.#index = index;
    this.#kind = kind;
    this.#batch.push(entry);
    this.#digests.push(measured.digest);
  }

  /** Reference values that an entry may be among; only of those that are not are name and digest written out. */
  #indexFor(measured: ImaMeasurement): DigestIndex | undefined {
    const { ima } = this.#facts.policy;
    if (ima === undefined || !STRONG.has(measured.digest.algorithm)) return undefined;
    return ima.digests.get(ima.classes.ofAll ?? ima.classes.of(measured.name) ?? '')?.index;
  }

  #judgeBatch(): void {
    if (this.#index !== undefined) {
      const found = this.#index.hasEach(this.#kind, this.#digests);
      for (const [i, entry] of this.#batch.entries()) {
        if (found[i] !== 1) this.#judge(entry, decodeImaEntry(entry));
      }
    }
    this.#index = undefined;
    this.#batch.length = 0;
    this.#digests.length = 0;
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

function referenceOf({ algorithm, type, bytes }: ImaMeasurement['digest']): string {
  const value = toHex(bytes);
  // A SHA-1 digest names no file any more.
  if (!STRONG.has(algorithm)) return `${algorithm}:${value.slice(0, 128)}`;
  return type === 'verity' ? VERITY + value : value;
}

/** True where a digest, as {@link referenceOf} writes it, is among those of a class. */
function hasReference(index: DigestIndex | undefined, reference: string): boolean {
  if (index === undefined) return false;
  const kind: DigestKind = reference.startsWith(VERITY) ? 'verity' : 'file';
  const hex = kind === 'verity' ? reference.slice(VERITY.length) : reference;
  return index.has(kind, Buffer.from(hex, 'hex'));
}

function refusalOfEntry(
  { index, name, digest }: UnmatchedEntry,
  references: ImaReferences | undefined,
  { lapsed }: UpdateWindows,
): Refusal<AppraisalCode> {
  const pointer = `ima:${index}`;
  if (index === 0) {
    const message = 'The IMA log does not begin with the SHA-256 aggregate of the quoted PCRs 0 to 9.';
    return because('IMA_BOOT_AGGREGATE', message, { pointer });
  }
  if (digest === VIOLATION) {
    return because('IMA_VIOLATION', `The kernel could not vouch for what was read of ${name}.`, { pointer });
  }
  const own = references?.classes.of(name);
  const late = lapsed.find(({ ima }) => own !== undefined && hasReference(ima.get(own), digest));
  if (late !== undefined) {
    return because(
      'IMA_FILE_LAPSED',
      `${name} was measured as ${digest}, which is of the update ${late.id}: that has lapsed.`,
      { pointer, hint: 'Announce the update anew, under another id.' },
    );
  }
  const other = [...(references?.digests ?? [])].find(([, one]) => hasReference(one.index, digest))?.[0];
  // Stops an approved file from being put in another's place, where the policy asks for more than approval.
  if (own !== undefined && other !== undefined && other !== own) {
    return because(
      'IMA_FILE_MISPLACED',
      `${name} was measured as ${digest}, which is known for files of the class ${other}, but not for ${own}.`,
      { pointer },
    );
  }
  return because('IMA_FILE_UNKNOWN', `${name} was measured, and has no reference value: ${digest}.`, {
    pointer,
  });
}

function missingSets({ missingSets: [first] }: CompiledPolicy): Refusal<AppraisalCode> {
  return because(
    'REFERENCE_SET_MISSING',
    `The policy names the reference set ${first?.name}, ${first?.digest}, which is not here.`,
    {
      pointer: '/reference/ima/classes',
      hint: 'Put its file where the policy is read from: see docs/policy.md.',
    },
  );
}

function judgedOtherwise({ entries }: KeptIma): Refusal<AppraisalCode> {
  return because(
    'LOG_POSITION',
    `The ${entries} entries of the IMA log that were shown in this boot were judged by another policy.`,
    { pointer: '/ima', hint: 'Show the log again, from its first entry.' },
  );
}

function noReference(): Refusal<AppraisalCode> {
  return because('IMA_NO_REFERENCE', 'The policy has no reference values for what IMA measures.', {
    pointer: `pcr:${IMA_PCR}`,
  });
}

function missing(): Refusal<AppraisalCode> {
  return because('IMA_MISSING', 'The policy has reference values for IMA, but no IMA log is shown.', {
    pointer: '/ima',
  });
}

function refused(kept: KeptIma | undefined, refusal: Refusal<AppraisalCode>): ImaVerdict {
  return { ...(kept === undefined ? {} : { kept }), refusals: [refusal], explained: false };
}
