import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { kallioCommand } from './kallio.ts';

/** A `kallio` command that is watched while it runs. */
export class UnderWay {
  readonly #child: ChildProcess;
  readonly #gone: Promise<unknown>;
  #said = '';

  constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    const [command, all] = kallioCommand(args);
    this.#child = spawn(command, all, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#gone = once(this.#child, 'close');
    this.#child.stdout?.resume();
    this.#child.stderr?.on('data', (piece: Buffer) => {
      this.#said += piece.toString();
    });
  }

  /** What it said on standard error so far. */
  get said(): string {
    return this.#said;
  }

  /** Waits until it says this; an error where it ends before. */
  async says(text: string): Promise<void> {
    while (!this.#said.includes(text)) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`it never said "${text}":\n${this.#said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for its end; its exit code, null where a signal ended it. */
  async ended(): Promise<number | null> {
    await this.#gone;
    return this.#child.exitCode;
  }
}
