import { randomBytes, randomFillSync } from 'node:crypto';
import { concat, equalBytes, fromHex, KallioError, toHex, utf8, Writer } from '@kallio/codec';
import type { Purpose } from '@kallio/evidence';
import type { ServerCode } from '../codes.ts';
import { Recent } from '../recent.ts';
import type { Store } from '../store/store.ts';
import { Mac } from './mac.ts';

/** What a nonce is good for: this attester, this purpose, this session, and nothing else. */
export interface NonceTerms {
  readonly attester: string;
  readonly purpose: Purpose;
  readonly session?: string | undefined;
}

const LABEL = concat(utf8('kallio-nonce-v2'), new Uint8Array(1));
const MAC_BYTES = 16;

/** A nonce that this server gave: when, and until when it may be used; milliseconds since 1970. */
export interface Nonce {
  readonly bytes: Uint8Array;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** Nonces that are recognised without their MAC: the next ones of as many attesters as one server has. */
const RECENT = 16_384;

/** Times take the first 8 bytes: 48 bits of milliseconds, 16 bits of seconds to live. */
const SECONDS_BITS = 16n;
const MAX_SECONDS = 0xffff;

/**
 * Nonces that the server recognises without having kept them: times (8 bytes), random (8), and a MAC (16) over both and
 * the terms, under a key that only this server has. So a flood of requests for nonces stores nothing and shuts nobody
 * out. Unpredictable by the MAC; single-use because a spent one is stored until its time is over.
 */
export class Nonces {
  readonly #store: Store;
  readonly #mac: Mac;
  readonly #seconds: number;
  readonly #random = new RandomBytes();
  /** What nonces that were issued last, and have not come back, are good for. */
  readonly #given = new Recent<string, NonceTerms>(RECENT);

  constructor(store: Store, lifetimeSeconds: number) {
    this.#store = store;
    this.#mac = new Mac(store.settings.getOrMake('nonce-key', () => new Uint8Array(randomBytes(32))));
    this.#seconds = lifetimeSeconds;
  }

  /** A fresh nonce in hexadecimal, and when it ends (milliseconds since 1970). At most 65,535 seconds later. */
  issue(
    terms: NonceTerms,
    now: Date,
    seconds = this.#seconds,
  ): { readonly nonce: string; readonly expiresAt: number } {
    const time = now.getTime();
    const lifetime = Math.min(seconds, MAX_SECONDS);
    const times = new Writer(8).u64((BigInt(time) << SECONDS_BITS) | BigInt(lifetime)).finish();
    const head = concat(times, this.#random.take(8));
    const nonce = toHex(concat(head, this.#macOf(head, terms)));
    this.#given.set(nonce, terms);
    return { nonce, expiresAt: time + lifetime * 1000 };
  }

  /** A nonce that was issued on these terms, and is in time. */
  recognise(nonceHex: string, terms: NonceTerms, now: Date): Nonce {
    const nonce = fromHex(nonceHex, 32);
    const head = nonce.subarray(0, 32 - MAC_BYTES);
    // Stops a nonce made up by anybody else, or moved to another attester, purpose or session.
    if (
      !this.#wasGiven(nonceHex, terms) &&
      !equalBytes(this.#macOf(head, terms), nonce.subarray(32 - MAC_BYTES))
    ) {
      throw new KallioError(
        'NONCE_UNKNOWN' satisfies ServerCode,
        'This server gave no such nonce to this attester for this purpose.',
      );
    }
    const times = new DataView(head.buffer, head.byteOffset).getBigUint64(0);
    const issuedAt = Number(times >> SECONDS_BITS);
    const expiresAt = issuedAt + Number(times & BigInt(MAX_SECONDS)) * 1000;
    // Stops evidence that was gathered when the machine was still well.
    if (expiresAt <= now.getTime()) {
      throw new KallioError('NONCE_EXPIRED' satisfies ServerCode, 'This nonce’s time is over.', {
        hint: 'Ask for another and quote again.',
      });
    }
    return { bytes: nonce, issuedAt, expiresAt };
  }

  /**
   * Uses a nonce up; throws if it was used before. Stops a replay.
   * COMMIT POINT: durable on return, or with the transaction that this is called in.
   */
  spend({ bytes, expiresAt }: Nonce): void {
    if (!this.#store.spentNonces.spend(bytes, expiresAt)) throw spent();
  }

  /** Was it issued a moment ago, on these very terms? Where this does not know, the MAC does. */
  #wasGiven(nonceHex: string, { attester, purpose, session }: NonceTerms): boolean {
    const given = this.#given.get(nonceHex);
    this.#given.delete(nonceHex);
    return given?.attester === attester && given.purpose === purpose && given.session === session;
  }

  #macOf(head: Uint8Array, { attester, purpose, session }: NonceTerms): Uint8Array {
    const terms = utf8(JSON.stringify([purpose, attester, session ?? null]));
    return this.#mac.over(concat(LABEL, head, terms)).subarray(0, MAC_BYTES);
  }
}

/** Random bytes, fetched many at a time: to ask for eight costs as much as to ask for thousands. None is given twice. */
class RandomBytes {
  readonly #bytes = new Uint8Array(4096);
  #next = this.#bytes.length;

  take(count: number): Uint8Array {
    if (this.#next + count > this.#bytes.length) {
      randomFillSync(this.#bytes);
      this.#next = 0;
    }
    this.#next += count;
    return this.#bytes.slice(this.#next - count, this.#next);
  }
}

function spent(): KallioError {
  return new KallioError('NONCE_SPENT' satisfies ServerCode, 'This nonce has been used.', {
    hint: 'Ask for another and quote again.',
  });
}
