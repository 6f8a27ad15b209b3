import type { KeyObject } from 'node:crypto';
import type { VerifyQuestion } from '@kallio/tpm/structures';

/** A signature to make or, with one, to verify. Bytes are strings of one character a byte. */
export interface Job {
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
 * Writes jobs for one other thread, which {@link jobTaker} takes over there: each that is written must go there, and in this
 * order.
 */
export class JobWriter {
  readonly #mostKeys: number;
  #numbers = new WeakMap<KeyObject, number>();
  #keys = 0;

  constructor(mostKeys = MOST_KEYS) {
    this.#mostKeys = mostKeys;
  }

  /** To verify as node:crypto does: ECDSA in DER. */
  verifying([hash, message, how, signature]: VerifyQuestion): Job {
    const padded = 'key' in how;
    return {
      ...this.#numberOf(padded ? how.key : how),
      hash,
      message: textOf(message),
      signature: textOf(signature),
      ...(padded ? { options: { padding: how.padding, saltLength: how.saltLength } } : {}),
    };
  }

  /** To sign over SHA-256 as node:crypto does: ECDSA in DER. A message that is text is of one byte a character. */
  signing(key: KeyObject, message: Uint8Array | string): Job {
    const text = typeof message === 'string' ? message : textOf(message);
    return { ...this.#numberOf(key), hash: 'sha256', message: text };
  }

  /** The thread has ended: the next one knows no key. */
  forget(): void {
    this.#numbers = new WeakMap();
    this.#keys = 0;
  }

  #numberOf(key: KeyObject): Pick<Job, 'number' | 'key' | 'forget'> {
    const known = this.#numbers.get(key);
    if (known !== undefined) return { number: known };
    // Stops a fleet whose keys come and go from filling the other thread's memory.
    const forget = this.#keys >= this.#mostKeys;
    if (forget) this.forget();
    const number = this.#keys++;
    this.#numbers.set(key, number);
    return { number, key, forget };
  }
}

/** A character a byte. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

/**
 * What takes jobs over on the other thread. A job's key is known from then on, whether the job is done or not. What does it
 * answers with a signature, or whether one holds. Taken over as text: it sees nothing of this file.
 */
export function jobTaker(crypto: typeof import('node:crypto')): (job: Job) => () => string | boolean {
  const keys = new Map<number, KeyObject>();
  return ({ forget, number, key, hash, message, signature, options }) => {
    if (forget) keys.clear();
    if (key !== undefined) keys.set(number, key);
    const known = keys.get(number);
    return () => {
      if (known === undefined) throw new Error('a key is asked for that is not here');
      const bytes = Buffer.from(message, 'latin1');
      if (signature === undefined) return crypto.sign(hash, bytes, known).toString('latin1');
      const how = options === undefined ? known : { key: known, ...options };
      return crypto.verify(hash, bytes, how, Buffer.from(signature, 'latin1'));
    };
  };
}
