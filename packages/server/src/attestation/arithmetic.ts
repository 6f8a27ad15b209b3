import type { KeyObject } from 'node:crypto';
import { type Answers, OtherThread } from '@kallio/threads';
import type { VerifyQuestion } from '@kallio/tpm/structures';
import { type Job, JobWriter, jobTaker } from './signature-jobs.ts';

/**
 * Signs and verifies on another thread, many at a time. Node's own pool is woken for each signature by itself, which takes
 * this thread longer than the signature.
 */
export class Arithmetic {
  readonly #jobs: JobWriter;
  readonly #thread = new OtherThread<Job, string | boolean>({
    module: "import('node:crypto')",
    work,
    parts: [jobTaker],
    onEnd: () => this.#jobs.forget(),
  });

  /** `mostKeys`: that the other thread knows at one time. */
  constructor(mostKeys?: number) {
    this.#jobs = new JobWriter(mostKeys);
  }

  /** Verifies as node:crypto does: ECDSA in DER. */
  async verify(...question: VerifyQuestion): Promise<boolean> {
    return (await this.#thread.ask(this.#jobs.verifying(question))) === true;
  }

  /** Signs over SHA-256 as node:crypto does: ECDSA in DER. */
  async sign(key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
    const signature = await this.#thread.ask(this.#jobs.signing(key, message));
    if (typeof signature === 'string') return Buffer.from(signature, 'latin1');
    throw new Error('no signature was made');
  }

  /** Ends the other thread. What was asked for is refused. */
  close(): Promise<void> {
    return this.#thread.close();
  }
}

/** What the other thread does. It sees nothing of this file but what it is given. */
function work(
  crypto: typeof import('node:crypto'),
  _: undefined,
  taker: typeof jobTaker,
): Answers<Job, string | boolean> {
  const take = taker(crypto);
  return (jobs) =>
    jobs.map((job) => {
      try {
        return take(job)();
      } catch (error) {
        return error instanceof Error ? error : new Error(String(error));
      }
    });
}
