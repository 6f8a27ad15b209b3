import type { KeyObject } from 'node:crypto';
import { es256OfDer } from '@kallio/appraisal';
import { type Digest, parseDigest } from '@kallio/codec';
import { CommitThread, type Found, type LateWrite } from '@kallio/store';
import type { VerifyQuestion } from '@kallio/tpm/structures';
import { type Job, JobWriter, jobTaker } from './signature-jobs.ts';

/** A result that is to be written if the signature holds that it was judged by. */
export interface SteadyQuestion {
  /** The quote's signature, which was taken to hold. */
  readonly verify: VerifyQuestion;
  /** Header and payload of the EAR, and the key that signs it. */
  readonly sign: string;
  readonly key: KeyObject;
  /** What to write, with {@link SIGNED} for what is not there before. */
  readonly writes: readonly LateWrite[];
}

/** Where a write is to have the EAR, and its digest: neither is there before the quote's signature holds. */
export const SIGNED = { digest: { late: 0 }, ear: { late: 1 } } as const;

interface Question {
  readonly verify: Job;
  readonly sign: Job;
}

/**
 * Records results of evidence that says nothing new, on another thread and in one question to it: it verifies the quote, signs
 * the result and commits both, with all that came at the same time. The thread that serves requests is woken once for them.
 */
export class SteadyCommits {
  readonly #jobs: JobWriter;
  readonly #thread: CommitThread<Question, string>;

  /** For the store at this path. `mostKeys`: that the other thread knows at one time. */
  constructor(path: string, mostKeys?: number) {
    this.#jobs = new JobWriter(mostKeys);
    this.#thread = new CommitThread(path, {
      module: "import('node:crypto')",
      work,
      parts: [jobTaker, es256OfDer],
      onEnd: () => this.#jobs.forget(),
    });
  }

  /**
   * The digest of the EAR that was written; undefined, and nothing written, where the quote's signature does not hold, or things
   * in the store are not as they were thought to be. Throws when nothing was written for another reason; or when the thread
   * ended, and nobody knows.
   * COMMIT POINT: once there is a digest, all of it is on disk.
   */
  async record({ verify, sign, key, writes }: SteadyQuestion): Promise<Digest | undefined> {
    const question = { verify: this.#jobs.verifying(verify), sign: this.#jobs.signing(key, sign) };
    const digest = await this.#thread.commit(question, writes);
    return digest === undefined ? undefined : parseDigest(digest);
  }

  /** Ends the other thread. What has not been answered by then is refused, and may be on disk. */
  close(): Promise<void> {
    return this.#thread.close();
  }
}

/** What the other thread works out before it writes. It sees nothing of this file but what it is given. */
function work(
  crypto: typeof import('node:crypto'),
  taker: typeof jobTaker,
  jose: typeof es256OfDer,
): (question: Question) => Found<string> | undefined {
  const take = taker(crypto);
  return (question) => {
    // Both, before either is done: each may bring a key.
    const [verify, sign] = [take(question.verify), take(question.sign)];
    // Stops all that was judged of a quote that the attester's TPM did not make.
    if (verify() !== true) return undefined;
    const signature = jose(Buffer.from(String(sign()), 'latin1'));
    const ear = `${question.sign.message}.${Buffer.from(signature).toString('base64url')}`;
    const digest = `sha256:${crypto.hash('sha256', ear)}`;
    return { answer: digest, late: [digest, ear] };
  };
}
