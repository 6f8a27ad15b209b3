/** What a step's time counts as: the session's cost, the builder's own work, or the push that any build has. */
type Kind = 'session' | 'builder' | 'push';

/** The steps of a build and how long each took. */
export interface Times {
  readonly steps: readonly { readonly name: string; readonly ms: number }[];
  /** What the attestation sessions cost: every step but the builder's own and the push. */
  readonly sessionMs: number;
}

/** Times the steps and tells of them. */
export class Clock {
  readonly #say: (line: string) => void;
  readonly #steps: { name: string; ms: number; kind: Kind }[] = [];

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  async step<T>(name: string, work: () => Promise<T>, kind: Kind = 'session'): Promise<T> {
    this.#say(`… ${name}`);
    const started = performance.now();
    const result = await work();
    const ms = Math.round(performance.now() - started);
    this.#steps.push({ name, ms, kind });
    this.#say(`✔ ${name} (${(ms / 1000).toFixed(2)} s)`);
    return result;
  }

  times(): Times {
    const cost = this.#steps.filter(({ kind }) => kind === 'session').reduce((sum, { ms }) => sum + ms, 0);
    return { steps: this.#steps.map(({ name, ms }) => ({ name, ms })), sessionMs: cost };
  }
}
