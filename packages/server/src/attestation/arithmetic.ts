import type { KeyObject } from 'node:crypto';
import { type MessagePort, Worker } from 'node:worker_threads';
import type { VerifyAside } from '@kallio/tpm/structures';

/** What is asked of the other thread. A key goes there once; afterwards its number stands for it. */
interface Batch {
  /** Keys from before are not asked for again. */
  readonly forget: boolean;
  readonly keys: [number, KeyObject][];
  readonly jobs: Job[];
}

interface Job {
  readonly job: number;
  readonly key: number;
  readonly hash: string;
  readonly message: Uint8Array;
  /** To verify; without, to make one. */
  readonly signature?: Uint8Array;
  /** How the signature is padded, for RSASSA-PSS. */
  readonly options?: { readonly padding: number; readonly saltLength: number };
}

/** Jobs and what came of each: a signature, whether one holds, or what went wrong. */
type Outcomes = [number, Uint8Array | boolean | Error][];

/** Keys that the other thread knows, before it is told to forget them: those of as many attesters as one server has. */
const MOST_KEYS = 32_768;

/**
 * Signs and verifies on another thread. All that is asked for in one turn of the event loop goes there together: node's
 * own pool is woken for each signature by itself, and on few cores waking it puts this thread to sleep, which takes longer
 * than the signature.
 */
export class Arithmetic {
  readonly #mostKeys: number;
  #worker: Worker | undefined;
  #numbers = new WeakMap<KeyObject, number>();
  #keys = 0;
  #jobs = 0;
  #next: Batch = { forget: false, keys: [], jobs: [] };
  readonly #waiting = new Map<
    number,
    { resolve(value: Uint8Array | boolean): void; reject(why: Error): void }
  >();

  constructor(mostKeys = MOST_KEYS) {
    this.#mostKeys = mostKeys;
  }

  /** Verifies as node:crypto does: ECDSA in DER. */
  async verify(...[hash, message, key, signature]: Parameters<VerifyAside>): Promise<boolean> {
    const { options, ...of } = 'key' in key ? { key: key.key, options: key } : { key, options: undefined };
    const padded =
      options === undefined ? {} : { options: { padding: options.padding, saltLength: options.saltLength } };
    const job = { hash, message: message.slice(), signature: signature.slice(), ...padded };
    return (await this.#ask(of.key, job)) === true;
  }

  /** Signs over SHA-256 as node:crypto does: ECDSA in DER. */
  async sign(key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
    const signature = await this.#ask(key, { hash: 'sha256', message: message.slice() });
    if (signature instanceof Uint8Array) return signature;
    throw new Error('no signature was made');
  }

  /** Ends the other thread. What was asked for is not answered any more. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #ask(key: KeyObject, job: Omit<Job, 'job' | 'key'>): Promise<Uint8Array | boolean> {
    return new Promise((resolve, reject) => {
      if (this.#next.jobs.length === 0) setImmediate(() => this.#send());
      const number = this.#jobs++;
      this.#next.jobs.push({ ...job, job: number, key: this.#numberOf(key) });
      this.#waiting.set(number, { resolve, reject });
    });
  }

  #numberOf(key: KeyObject): number {
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#keys++;
      this.#numbers.set(key, number);
      this.#next.keys.push([number, key]);
    }
    return number;
  }

  #send(): void {
    const batch = this.#next;
    // All of it was refused meanwhile, with the thread that it was for.
    if (batch.jobs.length === 0) return;
    // Stops a fleet whose keys come and go from filling the other thread's memory.
    const forget = this.#keys >= this.#mostKeys;
    if (forget) {
      this.#numbers = new WeakMap();
      this.#keys = 0;
    }
    this.#next = { forget, keys: [], jobs: [] };
    this.#worker ??= this.#start();
    this.#worker.postMessage(batch);
  }

  #start(): Worker {
    // From its text: a file of its own would have to be found wherever this one was bundled to.
    const worker = new Worker(
      `Promise.all([import('node:worker_threads'), import('node:crypto')])
        .then(([{ parentPort }, crypto]) => (${work})(parentPort, crypto))`,
      { eval: true },
    );
    worker.unref();
    worker.on('message', (outcomes: Outcomes) => {
      for (const [job, outcome] of outcomes) {
        const waiting = this.#waiting.get(job);
        this.#waiting.delete(job);
        if (outcome instanceof Error) waiting?.reject(outcome);
        else waiting?.resolve(outcome);
      }
    });
    worker.on('error', (error) => this.#ended(worker, error));
    worker.on('exit', () => this.#ended(worker, new Error('the thread for arithmetic ended')));
    return worker;
  }

  /** What was asked for is refused, and the next question starts another thread. */
  #ended(worker: Worker, why: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#numbers = new WeakMap();
    this.#keys = 0;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#next = { forget: false, keys: [], jobs: [] };
    for (const { reject } of waiting) reject(why);
  }
}

/** What the other thread does. It sees nothing of this file but what it is given. */
function work(port: MessagePort, crypto: typeof import('node:crypto')): void {
  const keys = new Map<number, KeyObject>();
  const does = ({ key: number, hash, message, signature, options }: Job): Uint8Array | boolean => {
    const key = keys.get(number);
    if (key === undefined) throw new Error('a key is asked for that is not here');
    if (signature === undefined) return crypto.sign(hash, message, key);
    return crypto.verify(hash, message, options === undefined ? key : { key, ...options }, signature);
  };
  port.on('message', ({ forget, keys: more, jobs }: Batch) => {
    if (forget) keys.clear();
    for (const [number, key] of more) keys.set(number, key);
    const outcomes: Outcomes = jobs.map((job) => {
      try {
        return [job.job, does(job)];
      } catch (error) {
        return [job.job, error instanceof Error ? error : new Error(String(error))];
      }
    });
    port.postMessage(outcomes);
  });
}
