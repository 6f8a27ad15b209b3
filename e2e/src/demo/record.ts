/** One step of the demo, as it went. */
export interface StepRecord {
  readonly name: string;
  readonly ok: boolean;
  readonly ms: number;
  /** What proved it; or, where it failed, why. */
  readonly proof: string;
}

/** One attack, and who refused it. `refused` is true only for the refusal that was expected. */
export interface AttackRecord {
  readonly name: string;
  readonly refused: boolean;
  readonly refusedBy: string;
  readonly code: string;
  readonly message: string;
}

/** The demo's whole record: what `--json` prints. */
export interface DemoRecord {
  readonly ok: boolean;
  readonly seconds: number;
  readonly steps: readonly StepRecord[];
  readonly attacks: readonly AttackRecord[];
}

/** What an attack met. */
export interface Refusal {
  readonly by: string;
  readonly code: string;
  readonly message: string;
}

/** Keeps the record while the demo goes, and tells a person how it is going. */
export class Recorder {
  readonly #started = performance.now();
  readonly #steps: StepRecord[] = [];
  readonly #attacks: AttackRecord[] = [];
  readonly #say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  /** Runs one step; its result is the sentence that proves it. A step that fails ends the demo. */
  async step<T>(
    name: string,
    work: () => Promise<{ readonly value: T; readonly proof: string }>,
  ): Promise<T> {
    const started = performance.now();
    this.#say(`… ${name}`);
    try {
      const { value, proof } = await work();
      this.#add({ name, ok: true, ms: since(started), proof });
      return value;
    } catch (error) {
      this.#add({ name, ok: false, ms: since(started), proof: sentence(error) });
      throw error;
    }
  }

  /** Runs one attack. It counts as refused only with one of the codes that name what was done. */
  async attack(
    name: string,
    expected: readonly string[],
    work: () => Promise<Refusal | undefined>,
  ): Promise<void> {
    this.#say(`… attack: ${name}`);
    let met: Refusal | undefined;
    try {
      met = await work();
    } catch (error) {
      met = { by: 'nobody', code: 'DEMO_FAILED', message: sentence(error) };
    }
    const record: AttackRecord = {
      name,
      refused: met !== undefined && expected.includes(met.code),
      refusedBy: met?.by ?? 'nobody',
      code: met?.code ?? 'ACCEPTED',
      message: met?.message ?? 'Nobody refused this.',
    };
    this.#attacks.push(record);
    this.#say(
      `${record.refused ? '✔' : '✘'} refused by ${record.refusedBy}: ${record.code}: ${record.message}`,
    );
  }

  #add(step: StepRecord): void {
    this.#steps.push(step);
    this.#say(`${step.ok ? '✔' : '✘'} ${step.name} (${(step.ms / 1000).toFixed(1)} s): ${step.proof}`);
  }

  /** The record so far. It is good only when every step and every attack ended as it should. */
  finish(complete: boolean): DemoRecord {
    const ok = complete && this.#steps.every((step) => step.ok) && this.#attacks.every((a) => a.refused);
    return {
      ok,
      seconds: Math.round((performance.now() - this.#started) / 100) / 10,
      steps: this.#steps,
      attacks: this.#attacks,
    };
  }
}

function since(started: number): number {
  return Math.round(performance.now() - started);
}

function sentence(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split('\n', 1)[0] ?? '';
}
