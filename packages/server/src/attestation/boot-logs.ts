import { fromBase64, KallioError } from '@kallio/codec';
import {
  type EvidenceMessage,
  type ImaEntry,
  type InstanceEntry,
  readImaLog,
  writeImaLog,
} from '@kallio/evidence';
import type { ServerCode } from '../codes.ts';

/** Most bytes of an IMA list that is put together: what fits an answer. */
const MAX_IMA = 32 * 1024 * 1024;

/** The logs of one boot, whole. */
export interface WholeLogs {
  readonly eventLog?: string;
  /** From the first entry on, in the kernel’s binary form. */
  readonly ima?: Uint8Array;
  readonly instanceLog: { readonly from: 0; readonly entries: InstanceEntry[] };
}

/** Puts the logs of a boot together from evidence that each time carried only what was new. Newest evidence first. */
export class BootLogs {
  #eventLog: string | undefined;
  readonly #ima = new Map<number, ImaEntry>();
  /** Entries that there are, as far as is known; `undefined` while no evidence had a list. */
  #imaEntries: number | undefined;
  readonly #instances = new Map<number, InstanceEntry>();
  #instanceEntries = 0;
  #bytes = 0;

  take({ eventLog, ima, instanceLog }: EvidenceMessage): void {
    this.#eventLog ??= eventLog;
    if (ima !== undefined) {
      const bytes = fromBase64(ima.entries);
      this.#bytes += bytes.length;
      if (this.#bytes > MAX_IMA)
        throw incomplete(`The IMA log of this boot is longer than ${MAX_IMA} bytes.`);
      let end = ima.from;
      for (const entry of readImaLog(bytes, { from: ima.from })) {
        if (!this.#ima.has(entry.index)) this.#ima.set(entry.index, entry);
        end = entry.index + 1;
      }
      this.#imaEntries = Math.max(this.#imaEntries ?? 0, end);
    }
    for (const [i, entry] of instanceLog.entries.entries()) {
      const place = instanceLog.from + i;
      if (!this.#instances.has(place)) this.#instances.set(place, entry);
    }
    this.#instanceEntries = Math.max(this.#instanceEntries, instanceLog.from + instanceLog.entries.length);
  }

  /** True when older evidence has nothing to add. Whether there is an event log, only the oldest can say. */
  get complete(): boolean {
    const all = this.#ima.size === this.#imaEntries && this.#instances.size === this.#instanceEntries;
    return all && this.#eventLog !== undefined;
  }

  /** The logs; `EVIDENCE_INCOMPLETE` where a part of one is not kept any more. */
  whole(): WholeLogs {
    if (this.#ima.size !== (this.#imaEntries ?? 0) || this.#instances.size !== this.#instanceEntries) {
      throw incomplete('A part of the logs of this boot was shown too long ago to be kept.');
    }
    return {
      ...(this.#eventLog === undefined ? {} : { eventLog: this.#eventLog }),
      ...(this.#imaEntries === undefined ? {} : { ima: writeImaLog(inOrder(this.#ima)) }),
      instanceLog: { from: 0, entries: inOrder(this.#instances) },
    };
  }
}

function inOrder<T>(entries: ReadonlyMap<number, T>): T[] {
  return [...entries].sort(([a], [b]) => a - b).map(([, entry]) => entry);
}

function incomplete(message: string): KallioError {
  return new KallioError('EVIDENCE_INCOMPLETE' satisfies ServerCode, message, {
    hint: 'Start the machine again: in a new boot it shows its logs from their beginning.',
  });
}
