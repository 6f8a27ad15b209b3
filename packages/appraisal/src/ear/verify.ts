import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  borrowBase64Url,
  decodeShape,
  fromBase64Url,
  type HoldsEcdsa,
  KallioError,
  parseJson,
  readShape,
} from '@kallio/codec';
import type { State, Tier } from '../codes.ts';
import {
  EAR_TYPE,
  EarPayload,
  EXTENSION,
  INSTANCE_PREFIX,
  Instance,
  type SessionClaims,
  type Status,
  type TrustVector,
} from './claims.ts';
import { verifyEs256 } from './es256.ts';
import { statusOf } from './vector.ts';

/** Codes of a result that is not believed. */
export type EarCode =
  | 'EAR_MALFORMED'
  | 'EAR_TYPE'
  | 'EAR_ALGORITHM'
  | 'EAR_KEY_UNKNOWN'
  | 'EAR_SIGNATURE'
  | 'EAR_ISSUER'
  | 'EAR_NOT_YET_VALID'
  | 'EAR_EXPIRED'
  | 'EAR_STATUS'
  | 'EAR_SESSION_NOT_VERIFIED';

/** Whom a relying party believes. */
export interface EarTrust {
  readonly issuer: string;
  /** Pinned public keys; each has its own `kid`. */
  readonly jwks: { readonly keys: readonly Record<string, unknown>[] };
}

/** What a result says of one subject. */
export interface SubjectClaims {
  readonly state: State;
  readonly status: Status;
  readonly vector: TrustVector;
  readonly reasons: readonly {
    readonly code: string;
    readonly message: string;
    readonly pointer?: string;
  }[];
}

/** What a verified result says. */
export interface EarClaims {
  readonly issuer: string;
  readonly attester: string;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  readonly policyIds: readonly string[];
  readonly platform: SubjectClaims & {
    readonly tier?: Tier;
    readonly boot?: number;
    /** SHA-256 of the evidence message it rests on. */
    readonly evidence: string;
    readonly limits: readonly string[];
  };
  /** By instance name, or container id for what stood in no log. */
  readonly instances: ReadonlyMap<
    string,
    SubjectClaims & { readonly container: string; readonly image?: string }
  >;
  /** Present on the result of a closed session. */
  readonly session?: SessionClaims;
}

/** How far two honest clocks may be apart, in seconds. */
const CLOCK_SKEW = 60;
const MAX_LENGTH = 64 * 1024;

/**
 * The claims of a result, if one of the issuer's pinned keys signed it and it was valid at `at`. Strict: ES256 and our
 * type only, no duplicate or unknown field. `EAR_…` says what is wrong.
 */
export async function verifyEar(ear: string, trust: EarTrust, at: Date): Promise<EarClaims> {
  return earClaims(ear, trust, at);
}

/** The same at once, for whoever waits for nothing else; `holds` is who verifies the signature. */
export function earClaims(ear: string, trust: EarTrust, at: Date, holds?: HoldsEcdsa): EarClaims {
  const payload = verifiedPayload(ear, trust, holds);
  // Stops the results of another server, signed with a key that both publish.
  if (payload.iss !== trust.issuer) {
    throw earError('EAR_ISSUER', `This result is of ${payload.iss}, not of ${trust.issuer}.`, '/iss');
  }
  const seconds = at.getTime() / 1000;
  if (!(payload.iat <= seconds + CLOCK_SKEW)) {
    throw earError('EAR_NOT_YET_VALID', 'This result is of a later time.', '/iat');
  }
  // Stops a result from being shown after the state that it speaks of may have changed. STALE is not VERIFIED.
  if (!(seconds < payload.exp)) throw earError('EAR_EXPIRED', 'This result has expired.', '/exp');
  return claimsOf(payload);
}

function verifiedPayload(ear: string, { jwks }: EarTrust, holds: HoldsEcdsa | undefined): EarPayload {
  if (ear.length > MAX_LENGTH) throw earError('EAR_MALFORMED', 'This result is too long to be one.');
  const parts = partsOf(ear);
  const { alg, kid, typ, ...others } = headerOf(parts.header);
  // Stops "alg": "none", a MAC with the public key as its key, and every header that asks for other rules.
  if (alg !== 'ES256') throw earError('EAR_ALGORITHM', 'A result is signed with ES256.');
  if (Object.keys(others).length > 0)
    throw earError('EAR_MALFORMED', 'The header has a field that is unknown.');
  // Stops any other token of this key from being shown as a result.
  if (typ !== EAR_TYPE) throw earError('EAR_TYPE', `A result has the type ${EAR_TYPE}.`);
  const [jwk, ...more] = jwks.keys.filter((key) => key.kid === kid);
  if (jwk === undefined || more.length > 0 || typeof kid !== 'string') {
    throw earError('EAR_KEY_UNKNOWN', 'No pinned key of the issuer has signed this result.');
  }
  // RFC 7515 section 5.2; ES256 of RFC 7518 section 3.4: r and s, 32 bytes each.
  if (!verifyEs256(keyOf(jwk), parts.signed, parts.signature, holds)) {
    throw earError('EAR_SIGNATURE', 'The signature of this result does not hold.');
  }
  try {
    return (
      readShape(EarPayload, parts.payload) ??
      decodeShape(EarPayload, parseJson(parts.payload), 'EAR_MALFORMED', 'This result')
    );
  } catch (cause) {
    throw malformed(cause);
  }
}

/** What a compact JWS holds, decoded; nothing in it is believed yet. */
interface Parts {
  /** Base64url, as it is written. */
  readonly header: string;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  /** The bytes under the signature: header and payload as they are written. */
  readonly signed: Uint8Array;
}

function partsOf(ear: string): Parts {
  const [header, payload, signature, ...more] = ear.split('.');
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    throw earError('EAR_MALFORMED', 'A result has three parts.');
  }
  try {
    // Stops a second spelling of the same result, which would have another digest.
    return {
      header,
      payload: borrowBase64Url(payload),
      signature: borrowBase64Url(signature),
      signed: Buffer.from(`${header}.${payload}`),
    };
  } catch (cause) {
    throw malformed(cause);
  }
}

/** The header that was read last: an issuer's results have one and the same. */
let header: { readonly text: string; readonly fields: Readonly<Record<string, unknown>> } | undefined;

function headerOf(text: string): Readonly<Record<string, unknown>> {
  if (header?.text === text) return header.fields;
  try {
    const json = parseJson(fromBase64Url(text));
    if (json === null || typeof json !== 'object' || Array.isArray(json)) throw malformed(undefined);
    header = { text, fields: { ...json } };
    return header.fields;
  } catch (cause) {
    throw malformed(cause);
  }
}

const keys = new WeakMap<Record<string, unknown>, KeyObject>();

/** Importing a key costs as much as using it: once for each. */
function keyOf(jwk: Record<string, unknown>): KeyObject {
  const { kty, crv, x, y } = jwk;
  if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string' || 'd' in jwk) {
    throw earError('EAR_KEY_UNKNOWN', 'The pinned key is no public P-256 key.');
  }
  let key = keys.get(jwk);
  if (key === undefined) {
    try {
      key = createPublicKey({ format: 'jwk', key: { kty, crv, x, y } });
    } catch (cause) {
      throw earError('EAR_KEY_UNKNOWN', 'The pinned key can’t be read.', undefined, cause);
    }
    keys.set(jwk, key);
  }
  return key;
}

function claimsOf(payload: EarPayload): EarClaims {
  const { platform, 'build-env': build, ...others } = payload.submods;
  const of = platform[EXTENSION];
  const instances = new Map<string, SubjectClaims & { container: string; image?: string }>();
  for (const [name, claims] of Object.entries(others)) {
    if (!name.startsWith(INSTANCE_PREFIX))
      throw earError('EAR_MALFORMED', 'A sub-module is unknown.', '/submods');
    const instance = decodeShape(Instance, claims, 'EAR_MALFORMED', 'An instance in this result');
    const { container, image } = instance[EXTENSION];
    instances.set(name.slice(INSTANCE_PREFIX.length), {
      ...subjectOf(name, instance),
      container,
      ...(image === undefined ? {} : { image }),
    });
  }
  const { tier, boot, evidence, limits } = of;
  return {
    issuer: payload.iss,
    attester: payload.sub,
    issuedAt: new Date(payload.iat * 1000),
    expiresAt: new Date(payload.exp * 1000),
    policyIds: platform.ear_appraisal_policy_ids,
    platform: {
      ...subjectOf('platform', platform),
      ...(tier === undefined ? {} : { tier }),
      ...(boot === undefined ? {} : { boot }),
      evidence,
      limits,
    },
    instances,
    ...(build === undefined ? {} : { session: sessionOf(payload, build[EXTENSION].session) }),
  };
}

interface Submodule {
  readonly ear_status: Status;
  readonly ear_trustworthiness_vector: TrustVector;
  readonly [EXTENSION]: Pick<SubjectClaims, 'state' | 'reasons'>;
}

function subjectOf(name: string, submodule: Submodule): SubjectClaims {
  const { state, reasons } = submodule[EXTENSION];
  const { ear_status: status, ear_trustworthiness_vector: vector } = submodule;
  // A status better than its worst claim is no EAR (draft-ietf-rats-ear, section 3.2): believe neither.
  if (status !== statusOf(state, vector)) {
    throw earError(
      'EAR_STATUS',
      `The status of ${name} is not that of its claims.`,
      `/submods/${name}/ear_status`,
    );
  }
  return { state, status, vector, reasons };
}

function sessionOf(payload: EarPayload, session: SessionClaims): SessionClaims {
  const platform = payload.submods.platform[EXTENSION];
  // A result that contradicts itself is of nobody's use.
  if (
    platform.state !== 'VERIFIED' ||
    session.builder !== payload.sub ||
    session.tier !== platform.tier ||
    session.boot !== platform.boot
  ) {
    throw earError('EAR_SESSION_NOT_VERIFIED', 'The session’s claims are not those of a VERIFIED platform.');
  }
  return session;
}

function malformed(cause: unknown): KallioError<EarCode> {
  if (cause !== undefined && !(cause instanceof KallioError)) throw cause;
  return earError('EAR_MALFORMED', cause?.message ?? 'This is no result.', cause?.pointer, cause);
}

function earError(code: EarCode, message: string, pointer?: string, cause?: unknown) {
  return new KallioError<EarCode>(code, message, { pointer, cause });
}
