import { unlessStopped } from './interrupt.ts';

/** What a step's time counts as: the session's cost, the builder's own work, or the push that any build has. */
type Kind = 'session' | 'builder' | 'push';

/** One step of a build and how long it took. */
interface Step {
  readonly name: string;
  readonly ms: number;
  readonly kind: Kind;
}

/** The steps of a build and how long each took. */
export interface Times {
  readonly steps: readonly Step[];
  /** What the attestation sessions cost: every step but the builder's own and the image's push. */
  readonly sessionMs: number;
}

/** Times the steps and tells of them; no step begins or is waited for once `stop` has come. */
export class Clock {
  readonly #say: (line: string) => void;
  readonly #stop: AbortSignal;
  readonly #steps: Step[] = [];

  constructor(say: (line: string) => void, stop: AbortSignal) {
    this.#say = say;
    this.#stop = stop;
  }

  async step<T>(name: string, work: () => Promise<T>, kind: Kind = 'session'): Promise<T> {
    return this.own(name, () => unlessStopped(this.#stop, work), kind);
  }

  /** A step that ends by itself when it is stopped: it is waited for until it has put away what it made. */
  async own<T>(name: string, work: () => Promise<T>, kind: Kind = 'session'): Promise<T> {
    this.#stop.throwIfAborted();
    this.#say(`… ${name}`);
    const started = performance.now();
    const result = await work();
    const ms = Math.round(performance.now() - started);
    this.#steps.push({ name, ms, kind });
    this.#say(`✔ ${name} (${(ms / 1000).toFixed(2)} s)`);
    return result;
  }

  /** A step that was done a little at a time, beside others. */
  meanwhile(name: string, ms: number, kind: Kind = 'session'): void {
    if (ms > 0) this.#steps.push({ name, ms: Math.round(ms), kind });
  }

  times(): Times {
    const cost = this.#steps.filter(({ kind }) => kind === 'session').reduce((sum, { ms }) => sum + ms, 0);
    return { steps: [...this.#steps], sessionMs: cost };
  }
}
