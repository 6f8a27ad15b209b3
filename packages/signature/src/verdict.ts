import { type Digest, KallioError, type Refusal } from '@kallio/codec';
import type { BuildEnvironment, Claims, Tier } from './statement.ts';

/** The steps of a verification, in their order. */
export type StepName =
  | 'image'
  | 'index'
  | 'bundle'
  | 'subject'
  | 'key'
  | 'signature'
  | 'log-leaf'
  | 'log-proof'
  | 'statement'
  | 'image-config'
  | 'result'
  | 'session'
  | 'policy'
  | 'claims'
  | 'revocations'
  | 'witnesses'
  | 'file-manifest'
  | 'evidence';

/** One step: what was found, or why it was refused. */
export interface Step {
  readonly step: StepName;
  readonly ok: boolean;
  /** A sentence for a person. */
  readonly detail: string;
}

/** An image whose signature holds in every step. */
export interface AcceptedImage {
  readonly ok: true;
  readonly steps: readonly Step[];
  readonly refusal?: undefined;
  readonly claims: Claims;
  /** What the session's closing quote committed to: SHA-256 of the claims (JCS). */
  readonly statement: Digest;
  /** As signed: for whoever re-verifies the evidence. */
  readonly environment: BuildEnvironment;
  readonly session: string;
  /** The attester that built it. */
  readonly builder: string;
  /** Of the build environment, as the attestation server judged it. */
  readonly tier: Tier;
  readonly fileManifestDigest: Digest;
  /** SHA-256 of the signing key's SPKI. */
  readonly signingKey: Digest;
  /** The key itself (SPKI, DER), for clients that know no sessions: this one vouched for it. */
  readonly signingKeySpki: Uint8Array;
  readonly logIndex: number;
  /** The TPM policy that alone opens the signing key, as the attestation server says; undefined where there is none. */
  readonly signingPolicy: string | undefined;
  /** Seconds since 1970: when it was logged. */
  readonly integratedTime: number;
  /** Digests of the evidence messages behind it, opening first. */
  readonly evidence: readonly Digest[];
}

/** An image whose signature was refused; the last step says where. */
export interface RefusedImage {
  readonly ok: false;
  readonly steps: readonly Step[];
  readonly refusal: Refusal;
  /** The statement's bytes, where a bundle was read: to be shown, for nothing in it is proved. */
  readonly payload?: Uint8Array;
}

export type ImageVerdict = AcceptedImage | RefusedImage;

/** Runs steps one after another and keeps what each found. The first refusal ends the verification. */
export class Trail {
  readonly #steps: Step[] = [];
  /** The statement that is being judged, once there is one. */
  payload: Uint8Array | undefined;

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** Takes over the steps of a part that was judged by itself. */
  append(steps: readonly Step[]): void {
    this.#steps.push(...steps);
  }

  /** Runs one step; `tell` says what it found. */
  step<T>(step: StepName, work: () => T, tell: (found: T) => string): T {
    try {
      return this.#found(step, work(), tell);
    } catch (error) {
      throw this.#refused(step, error);
    }
  }

  /** Runs one step that waits for others. */
  async wait<T>(step: StepName, work: () => Promise<T>, tell: (found: T) => string): Promise<T> {
    try {
      return this.#found(step, await work(), tell);
    } catch (error) {
      throw this.#refused(step, error);
    }
  }

  #found<T>(step: StepName, found: T, tell: (found: T) => string): T {
    this.#steps.push({ step, ok: true, detail: tell(found) });
    return found;
  }

  #refused(step: StepName, error: unknown): unknown {
    if (error instanceof KallioError) {
      this.#steps.push({ step, ok: false, detail: `${error.code}: ${error.message}` });
    }
    return error;
  }
}
