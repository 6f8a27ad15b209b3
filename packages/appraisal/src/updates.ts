import type { CompiledUpdate } from './policy/compile.ts';

/** What is kept of an announced update: boots by their resetCount. */
export interface KeptUpdate {
  readonly id: string;
  /** The boot in which the verifier first judged this attester by a policy that announces it. */
  readonly since: number;
  /** The last boot in which something of it was measured. */
  readonly used?: number;
}

/** How an announced update stands with an attester. */
export interface UpdateAppraisal {
  readonly id: string;
  /**
   * `announced`: not seen yet, and still valid. `in-use`: this boot rests on it. `rolled-back`: an earlier boot did, and
   * this one is back on the values before it. `lapsed`: its boots have passed without it; its values count for nothing.
   */
  readonly state: 'announced' | 'in-use' | 'rolled-back' | 'lapsed';
  /** Further boots in which it may begin to be used; absent where that doesn't matter any more. */
  readonly bootsLeft?: number;
  /** What of this boot is known by it alone: `event:16`, `pcr:4`, `ima:7`. The first ones, in this evidence. */
  readonly used: readonly string[];
}

const MAX_POINTERS = 16;

/**
 * The update windows of one attester in one boot. An announcement holds from the boot in which it was first seen, for so
 * many further boots; once used, it holds on until the operator makes its values the policy's own or withdraws them. The
 * values before it stay valid all the while: that is the roll-back slot.
 */
export class UpdateWindows {
  /** Those whose values count. */
  readonly valid: readonly CompiledUpdate[];
  /** Those whose boots have passed without them. */
  readonly lapsed: readonly CompiledUpdate[];
  /** Tells windows apart in which the same values count. */
  readonly key: string;
  readonly #boot: number;
  readonly #kept: ReadonlyMap<string, KeptUpdate>;
  readonly #used = new Map<string, Set<string>>();

  constructor(updates: readonly CompiledUpdate[], previous: readonly KeptUpdate[], boot: number) {
    this.#boot = boot;
    const before = new Map(previous.map((one) => [one.id, one]));
    this.#kept = new Map(updates.map(({ id }) => [id, before.get(id) ?? { id, since: boot }]));
    // Stops an announcement from leaving a second set of values open for ever.
    const holds = (update: CompiledUpdate) =>
      this.#of(update.id).used !== undefined || this.#left(update) >= 0;
    this.valid = updates.filter(holds);
    this.lapsed = updates.filter((update) => !holds(update));
    this.key = this.valid.map(({ id }) => id).join('\n');
  }

  #of(id: string): KeptUpdate {
    return this.#kept.get(id) ?? { id, since: this.#boot };
  }

  #left({ id, boots }: CompiledUpdate): number {
    return boots - (this.#boot - this.#of(id).since);
  }

  /** Notes that something of this boot, which `pointer` names, is known by this update alone. */
  use(id: string, pointer?: string): void {
    const used = this.#used.get(id) ?? new Set();
    if (pointer !== undefined && used.size < MAX_POINTERS) used.add(pointer);
    this.#used.set(id, used);
  }

  /** To be kept for the next appraisal; of updates that the policy still announces. */
  kept(): KeptUpdate[] {
    return [...this.#kept.values()].map((one) =>
      this.#used.has(one.id) ? { ...one, used: this.#boot } : one,
    );
  }

  /** For the verdict. */
  appraisals(): UpdateAppraisal[] {
    return [...this.valid, ...this.lapsed].map((update) => {
      const { id } = update;
      const used = [...(this.#used.get(id) ?? [])];
      const before = this.#of(id).used;
      if (this.#used.has(id) || before === this.#boot) return { id, state: 'in-use', used };
      if (before !== undefined) return { id, state: 'rolled-back', used };
      const bootsLeft = this.#left(update);
      return bootsLeft < 0 ? { id, state: 'lapsed', used } : { id, state: 'announced', bootsLeft, used };
    });
  }
}

/** What a verdict says of its updates, for a person. */
export function sentenceOf({ id, state, bootsLeft, used }: UpdateAppraisal): string {
  switch (state) {
    case 'announced':
      return `Update ${id} is announced and was not seen yet: its values are accepted for ${bootsLeft} more boot(s).`;
    case 'in-use':
      return `Update ${id} is in use${used.length === 0 ? '' : `: ${used.join(', ')}`}. The values before it are accepted as well.`;
    case 'rolled-back':
      return `Update ${id} was in use, and this boot is back on the values before it. Both are accepted.`;
    case 'lapsed':
      return `Update ${id} has lapsed without being used: its values are not accepted.`;
  }
}
