import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { concat, equalBytes } from '@kallio/codec';
import { kdfa } from '../software/kdf.ts';
import { type HashName, hashBytes } from '../structures/algorithms.ts';

/** The authorization value that a session was bound with, and the Name of what has it. */
export interface Bound {
  readonly name: Uint8Array;
  readonly authValue: Uint8Array;
}

/** What a session starts from: TPM2_StartAuthSession's answer and the secrets that went into it. */
export interface SessionStart {
  readonly handle: number;
  readonly kind: 'hmac' | 'policy';
  readonly hash: HashName;
  readonly nonceCaller: Uint8Array;
  readonly nonceTpm: Uint8Array;
  readonly salt: Uint8Array;
  readonly bound?: Bound | undefined;
}

const AES_BITS = 128;
const BLOCK = 16;
const NONE = new Uint8Array(0);

/**
 * Our side of an HMAC or policy session (Part 1 section 19.6). Its key is known to the TPM and us; both nonces roll with
 * every command, so that nothing can be replayed. A session that is neither salted nor bound has no key: its HMAC is worth
 * no more than the authorization value that it proves.
 */
export class Session {
  readonly handle: number;
  readonly kind: 'hmac' | 'policy';
  readonly hash: HashName;
  /** Policy sessions: must the HMAC prove the object's authorization value? TPM2_PolicyAuthValue sets it. */
  provesAuthValue = false;
  readonly #key: Uint8Array;
  readonly #bound: Bound | undefined;
  #nonceCaller: Uint8Array;
  #nonceTpm: Uint8Array;
  #auditDigest: Uint8Array;

  constructor(start: SessionStart) {
    this.handle = start.handle;
    this.kind = start.kind;
    this.hash = start.hash;
    this.#nonceCaller = start.nonceCaller;
    this.#nonceTpm = start.nonceTpm;
    this.#auditDigest = new Uint8Array(hashBytes(start.hash));
    // A policy session may be keyed by what it is bound to, but is not bound to it (section 19.6.12).
    this.#bound = start.kind === 'hmac' ? start.bound : undefined;
    const secret = concat(trimmed(start.bound?.authValue ?? NONE), start.salt);
    // Section 19.6.8, equation 19: without bind and salt there is no key.
    this.#key =
      start.bound === undefined && start.salt.length === 0
        ? NONE
        : kdfa(start.hash, secret, 'ATH', start.nonceTpm, start.nonceCaller, hashBytes(start.hash) * 8);
  }

  /** Our nonce of the command under way. */
  get nonceCaller(): Uint8Array {
    return this.#nonceCaller;
  }

  /** What the TPM gave last: another session's HMAC may have to cover it. */
  get nonceTpm(): Uint8Array {
    return this.#nonceTpm;
  }

  /** hash of all commands that went through this session as an audit session, and their responses (section 36.4). */
  get auditDigest(): Uint8Array {
    return this.#auditDigest;
  }

  /** A new nonce of ours, for the next command. */
  rollCaller(): void {
    this.#nonceCaller = new Uint8Array(randomBytes(hashBytes(this.hash)));
  }

  /** The TPM's new nonce, from a response whose HMAC was right. */
  rollTpm(nonce: Uint8Array): void {
    this.#nonceTpm = nonce;
  }

  audit(cpHash: Uint8Array, rpHash: Uint8Array, hash: (...parts: Uint8Array[]) => Uint8Array): void {
    this.#auditDigest = hash(this.#auditDigest, cpHash, rpHash);
  }

  /** Does the HMAC prove the authorization value of this entity? Not of the one that the session is bound to. */
  includes(entity: Uint8Array, authValue: Uint8Array): boolean {
    if (this.kind === 'policy') return this.provesAuthValue;
    return !(
      this.#bound !== undefined &&
      equalBytes(this.#bound.name, entity) &&
      equalBytes(trimmed(this.#bound.authValue), trimmed(authValue))
    );
  }

  /** The HMAC of a command (section 19.6.5, equation 17). `others` are the nonces of encrypting sessions beside this one. */
  commandHmac(cpHash: Uint8Array, authValue: Uint8Array, others: Uint8Array, attributes: number): Uint8Array {
    return this.#hmac(cpHash, authValue, this.#nonceCaller, this.#nonceTpm, others, attributes);
  }

  /** The HMAC of a response, with the nonce that came with it. */
  responseHmac(
    rpHash: Uint8Array,
    authValue: Uint8Array,
    nonceTpm: Uint8Array,
    attributes: number,
  ): Uint8Array {
    return this.#hmac(rpHash, authValue, nonceTpm, this.#nonceCaller, NONE, attributes);
  }

  /** Encrypts a command's first parameter (section 21.3, AES-128-CFB). */
  encrypt(parameter: Uint8Array, authValue: Uint8Array): Uint8Array {
    const [key, iv] = this.#cfb(authValue, this.#nonceCaller, this.#nonceTpm);
    return new Uint8Array(createCipheriv('aes-128-cfb', key, iv).update(parameter));
  }

  /** Decrypts a response's first parameter, after its HMAC was right and the TPM's nonce has rolled. */
  decrypt(parameter: Uint8Array, authValue: Uint8Array): Uint8Array {
    const [key, iv] = this.#cfb(authValue, this.#nonceTpm, this.#nonceCaller);
    return new Uint8Array(createDecipheriv('aes-128-cfb', key, iv).update(parameter));
  }

  #cfb(authValue: Uint8Array, newer: Uint8Array, older: Uint8Array): readonly [Uint8Array, Uint8Array] {
    const secret = concat(this.#key, trimmed(authValue));
    const both = kdfa(this.hash, secret, 'CFB', newer, older, AES_BITS + BLOCK * 8);
    return [both.subarray(0, AES_BITS / 8), both.subarray(AES_BITS / 8)];
  }

  #hmac(
    pHash: Uint8Array,
    authValue: Uint8Array,
    newer: Uint8Array,
    older: Uint8Array,
    others: Uint8Array,
    attributes: number,
  ): Uint8Array {
    const mac = createHmac(this.hash, concat(this.#key, trimmed(authValue)));
    mac.update(pHash).update(newer).update(older).update(others).update(Uint8Array.of(attributes));
    return new Uint8Array(mac.digest());
  }
}

/** Authorization values count without the zeros at their end (section 19.6.4.3). */
function trimmed(authValue: Uint8Array): Uint8Array {
  let length = authValue.length;
  while (length > 0 && authValue[length - 1] === 0) length--;
  return authValue.subarray(0, length);
}
