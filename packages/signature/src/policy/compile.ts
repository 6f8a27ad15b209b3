import { decodeShape, fromBase64 } from '@kallio/codec';
import { type Platform, parsePlatform } from '@kallio/oci';
import {
  COSIGNATURE_KEY,
  c2spOrigin,
  NOTE_KEY,
  parseVerifierKey,
  type TrustedLog,
  trustedLog,
  type VerifierKey,
} from '@kallio/tlog';
import { signatureError } from '../error.ts';
import { ImagePolicy } from './schema.ts';

/** A log of a policy, ready to verify with. */
export interface PolicyLog extends TrustedLog {
  readonly origin: string;
  /** By it the heads are signed that witnesses see. There where the policy names witnesses. */
  readonly verifierKey?: VerifierKey;
}

/** A policy's keys, read and imported, and what else of it is read once. */
export interface Compiled {
  /** By log id. */
  readonly logs: ReadonlyMap<string, PolicyLog>;
  readonly witnesses: readonly VerifierKey[];
  /** The machine that images must run on, where the policy names one. */
  readonly platform?: Platform;
}

/** Made once for each policy: importing a key costs as much as using it. */
const compiled = new WeakMap<ImagePolicy, Compiled>();

/** The policy of a document; `IMAGE_POLICY_INVALID` says where it is wrong. */
export function parseImagePolicy(document: unknown): ImagePolicy {
  const policy = decodeShape(ImagePolicy, document, 'IMAGE_POLICY_INVALID', 'The image policy');
  for (const [i, { since }] of (policy.revoked ?? []).entries()) {
    // Stops a day that doesn't exist: no time is after it, or that of another day, and the revocation would not hold.
    if (since !== undefined && !isTime(since)) {
      throw invalid(`/revoked/${i}/since`, `"${since}" is no time`);
    }
  }
  compiledPolicy(policy);
  return policy;
}

/** The policy's keys; `IMAGE_POLICY_INVALID` where they can't be what they are there for. */
export function compiledPolicy(policy: ImagePolicy): Compiled {
  const known = compiled.get(policy);
  if (known !== undefined) return known;
  const made = { logs: logsOf(policy), witnesses: witnessesOf(policy), ...platformOf(policy) };
  compiled.set(policy, made);
  return made;
}

function platformOf({ platform }: ImagePolicy): Pick<Compiled, 'platform'> {
  if (platform === undefined) return {};
  const parsed = parsePlatform(platform);
  if (parsed === undefined) throw invalid('/platform', `"${platform}" is no platform`);
  return { platform: parsed };
}

function logsOf({ logs, witnesses }: ImagePolicy): Map<string, PolicyLog> {
  const byId = new Map<string, PolicyLog>();
  for (const [i, { origin, publicKey, verifierKey }] of logs.entries()) {
    const log = trustedLog(fromBase64(publicKey), origin);
    if (byId.has(log.id)) throw invalid(`/logs/${i}`, 'this log is named twice');
    if (witnesses !== undefined && verifierKey === undefined) {
      throw invalid(`/logs/${i}/verifierKey`, 'witnesses sign heads that the log signed with this key');
    }
    const key = verifierKey === undefined ? undefined : parseVerifierKey(verifierKey, NOTE_KEY);
    if (key !== undefined && key.name !== c2spOrigin(origin)) {
      throw invalid(`/logs/${i}/verifierKey`, `it is not of the log ${origin}`);
    }
    byId.set(log.id, { ...log, origin, ...(key === undefined ? {} : { verifierKey: key }) });
  }
  return byId;
}

function witnessesOf({ witnesses }: ImagePolicy): readonly VerifierKey[] {
  if (witnesses === undefined) return [];
  const keys = witnesses.keys.map((key) => parseVerifierKey(key, COSIGNATURE_KEY));
  // Stops one witness under two names from being a quorum of two (a cosignature does not commit to the name).
  if (new Set(keys.map(({ raw }) => String(raw))).size !== keys.length)
    throw invalid('/witnesses/keys', 'one key is there twice');
  if (witnesses.quorum > keys.length) {
    throw invalid('/witnesses/quorum', `${witnesses.quorum} of ${keys.length} witnesses can never sign`);
  }
  return keys;
}

/** Date.parse() takes February 30th for a day of March. */
function isTime(text: string): boolean {
  const time = Date.parse(text);
  return Number.isFinite(time) && new Date(time).toISOString().slice(0, 10) === text.slice(0, 10);
}

function invalid(pointer: string, why: string) {
  return signatureError('IMAGE_POLICY_INVALID', `The image policy can’t be used: ${why}.`, { pointer });
}
