import type { KeyObject } from 'node:crypto';
import { type Answers, OtherThread } from '@kallio/threads';
import type { VerifyAside } from '@kallio/tpm/structures';

/** A signature to make or, with one, to verify. Bytes are strings of one character a byte. */
interface Job {
  /** Stands for the key: a key goes to the other thread once. */
  readonly number: number;
  readonly key?: KeyObject | undefined;
  /** Keys from before are not asked for again. */
  readonly forget?: boolean;
  readonly hash: string;
  readonly message: string;
  readonly signature?: string;
  /** How the signature is padded, for RSASSA-PSS. */
  readonly options?: { readonly padding: number; readonly saltLength: number };
}

/** Keys that the other thread knows, before it is told to forget them: those of as many attesters as one server has. */
const MOST_KEYS = 32_768;

/**
 * Signs and verifies on another thread, many at a time. Node's own pool is woken for each signature by itself, which takes
 * this thread longer than the signature.
 */
export class Arithmetic {
  readonly #mostKeys: number;
  readonly #thread = new OtherThread<Job, string | boolean>({
    module: "import('node:crypto')",
    work,
    onEnd: () => this.#forget(),
  });
  #numbers = new WeakMap<KeyObject, number>();
  #keys = 0;

  constructor(mostKeys = MOST_KEYS) {
    this.#mostKeys = mostKeys;
  }

  /** Verifies as node:crypto does: ECDSA in DER. */
  async verify(...[hash, message, how, signature]: Parameters<VerifyAside>): Promise<boolean> {
    const padded = 'key' in how;
    const holds = await this.#thread.ask({
      ...this.#numberOf(padded ? how.key : how),
      hash,
      message: textOf(message),
      signature: textOf(signature),
      ...(padded ? { options: { padding: how.padding, saltLength: how.saltLength } } : {}),
    });
    return holds === true;
  }

  /** Signs over SHA-256 as node:crypto does: ECDSA in DER. */
  async sign(key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
    const job = { ...this.#numberOf(key), hash: 'sha256', message: textOf(message) };
    const signature = await this.#thread.ask(job);
    if (typeof signature === 'string') return Buffer.from(signature, 'latin1');
    throw new Error('no signature was made');
  }

  /** Ends the other thread. What was asked for is refused. */
  close(): Promise<void> {
    return this.#thread.close();
  }

  #numberOf(key: KeyObject): Pick<Job, 'number' | 'key' | 'forget'> {
    const known = this.#numbers.get(key);
    if (known !== undefined) return { number: known };
    // Stops a fleet whose keys come and go from filling the other thread's memory.
    const forget = this.#keys >= this.#mostKeys;
    if (forget) this.#forget();
    const number = this.#keys++;
    this.#numbers.set(key, number);
    return { number, key, forget };
  }

  #forget(): void {
    this.#numbers = new WeakMap();
    this.#keys = 0;
  }
}

/** A character a byte. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

/** What the other thread does. It sees nothing of this file but what it is given. */
function work(crypto: typeof import('node:crypto')): Answers<Job, string | boolean> {
  const keys = new Map<number, KeyObject>();
  const outcomeOf = ({ forget, number, key, hash, message, signature, options }: Job): string | boolean => {
    if (forget) keys.clear();
    if (key !== undefined) keys.set(number, key);
    const known = keys.get(number);
    if (known === undefined) throw new Error('a key is asked for that is not here');
    const bytes = Buffer.from(message, 'latin1');
    if (signature === undefined) return crypto.sign(hash, bytes, known).toString('latin1');
    const how = options === undefined ? known : { key: known, ...options };
    return crypto.verify(hash, bytes, how, Buffer.from(signature, 'latin1'));
  };
  return (jobs) =>
    jobs.map((job) => {
      try {
        return outcomeOf(job);
      } catch (error) {
        return error instanceof Error ? error : new Error(String(error));
      }
    });
}
