import { KallioError, type Refusal, sha256, toHex } from '@kallio/codec';
import {
  decodeEvent,
  type EventLog,
  eventTypeName,
  type FirmwareEvent,
  type Signature,
  type SignatureList,
  secureBootState,
} from '@kallio/evidence';
import { type AppraisalCode, because, refusalOf } from './codes.ts';
import type { SecureBootReference } from './policy/secure-boot.ts';

export const SECURE_BOOT_PCR = 7;
/** More entries than any firmware's revocation list has. */
const MAX_ENTRIES = 8192;

/** What is kept of the secure boot events of a log. Only of events whose data is itself what was measured. */
export interface KeptSecureBoot {
  readonly flags: readonly { readonly event: number; readonly name: string; readonly set: boolean }[];
  readonly databases: readonly KeptDatabase[];
  /** Keys that let an image pass. */
  readonly authorities: readonly {
    readonly event: number;
    readonly database: string;
    readonly certificate: string;
  }[];
  /** Why there is nothing more: the events contradict each other, or can't be read. */
  readonly refusal?: Refusal<AppraisalCode>;
}

/** The entries of PK, KEK, db or dbx. */
interface KeptDatabase {
  readonly event: number;
  readonly name: string;
  /** SHA-256 fingerprints of X.509 certificates, hexadecimal. */
  readonly certificates: readonly string[];
  /** SHA-256 digests of images. */
  readonly hashes: readonly string[];
  /** Entries of other kinds. */
  readonly others: number;
}

/** The secure boot events of a log; `undefined` where it has none. */
export function keepSecureBoot(log: EventLog): KeptSecureBoot | undefined {
  const events = log.events.filter(({ authenticated }) => authenticated.pcr === SECURE_BOOT_PCR);
  if (events.length === 0) return undefined;
  try {
    const { unexplained, authorities } = secureBootState(log, 'sha256');
    const other = new Set([...unexplained, ...authorities.map(({ event }) => event)]);
    const settings = events.filter(({ index }) => !other.has(index)).map(settingOf);
    return {
      flags: settings.flatMap((one) => (one !== undefined && 'set' in one ? [one] : [])),
      databases: settings.flatMap((one) => (one !== undefined && 'others' in one ? [one] : [])),
      authorities: authorities.flatMap(({ event, database, signature }) =>
        signature === undefined ? [] : [{ event, database, certificate: fingerprint(signature) }],
      ),
    };
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return { flags: [], databases: [], authorities: [], refusal: refusalOf(cause, 'EVENTLOG_MALFORMED') };
  }
}

function settingOf(event: FirmwareEvent): KeptSecureBoot['flags'][number] | KeptDatabase | undefined {
  const { index, unauthenticated } = event;
  if (eventTypeName(unauthenticated.type) !== 'EV_EFI_VARIABLE_DRIVER_CONFIG') return undefined;
  const decoded = decodeEvent(event, 'sha256');
  if (decoded.proof !== 'all' || decoded.measured.kind !== 'variable') return undefined;
  const { name, value } = decoded.measured;
  if (value.is === 'flag') return { event: index, name, set: value.set };
  return value.is === 'signature-lists' ? databaseOf(index, name, value.lists) : undefined;
}

function databaseOf(event: number, name: string, lists: readonly SignatureList[]): KeptDatabase {
  const of = (type: string) => lists.flatMap((list) => (list.type === type ? list.signatures : []));
  const all = lists.reduce((count, { signatures }) => count + signatures.length, 0);
  if (all > MAX_ENTRIES) {
    throw new KallioError(
      'EVENTLOG_TOO_LARGE',
      `The variable ${name} has more than ${MAX_ENTRIES} entries.`,
      {
        pointer: `event:${event}`,
      },
    );
  }
  const certificates = of('x509').map(fingerprint);
  const hashes = of('sha256').map(({ data }) => toHex(data));
  return { event, name, certificates, hashes, others: all - certificates.length - hashes.length };
}

function fingerprint({ data }: Signature): string {
  return toHex(sha256(data));
}

/** What secure boot events came to by a policy, and which of them need no other reference value. */
export interface SecureBootVerdict {
  readonly refusals: readonly Refusal<AppraisalCode>[];
  readonly judged: ReadonlySet<number>;
}

/**
 * Judges the state of secure boot and its keys. `isKnown` is true for an event whose whole digest has a reference value:
 * such a variable is what it must be, whatever stands in it.
 */
export function judgeSecureBoot(
  kept: KeptSecureBoot | undefined,
  reference: SecureBootReference,
  isKnown: (event: number) => boolean,
): SecureBootVerdict {
  const { flags, databases, authorities, refusal } = kept ?? { flags: [], databases: [], authorities: [] };
  const refusals: Refusal<AppraisalCode>[] = refusal === undefined ? [] : [refusal];
  const judged = new Set<number>();
  const state = flags.find(({ name }) => name === 'SecureBoot');
  if (state === undefined) refusals.push(missing('SecureBoot'));
  else {
    judged.add(state.event);
    // Stops a machine on which secure boot was switched off from passing because its keys are the right ones.
    if (state.set !== reference.enabled) {
      const is = state.set ? 'on' : 'off';
      refusals.push(refused('SECURE_BOOT_STATE', `Secure boot is ${is}, and must not be.`, state.event));
    }
  }
  for (const [name, keys] of reference.databases) {
    const database = databases.find((one) => one.name === name);
    if (database === undefined) {
      refusals.push(missing(name));
      continue;
    }
    judged.add(database.event);
    if (isKnown(database.event)) continue;
    const found = name === 'dbx' ? notRevoked(database, keys) : notAllowed(database, keys);
    refusals.push(...found);
  }
  const db = reference.databases.get('db');
  for (const { event, database, certificate } of authorities) {
    if (database !== 'db' || db === undefined || isKnown(event)) continue;
    judged.add(event);
    // Stops a boot loader whose signer the policy does not know, where firmware let it pass.
    if (!db.certificates.has(certificate) && !db.hashes.has(certificate)) {
      const message = `An image was let pass by the key ${certificate}, which the policy does not know.`;
      refusals.push(refused('SECURE_BOOT_KEY', message, event));
    }
  }
  return { refusals, judged };
}

type Keys = SecureBootReference['databases'] extends ReadonlyMap<string, infer K> ? K : never;

/** Entries of PK, KEK or db that the policy does not know. Each lets images pass, or lets such entries be added. */
function notAllowed(database: KeptDatabase, keys: Keys): Refusal<AppraisalCode>[] {
  const { event, name, certificates, hashes, others } = database;
  const unknown = [
    ...certificates.filter((one) => !keys.certificates.has(one)).map((one) => `the certificate ${one}`),
    ...hashes.filter((one) => !keys.hashes.has(one)).map((one) => `the image digest ${one}`),
    ...(others === 0 ? [] : [`${others} entries of other kinds`]),
    // Without a key nothing is checked: none of no entries is unknown.
    ...(certificates.length + hashes.length + others === 0 ? ['no entry at all'] : []),
  ];
  return unknown.map((what) =>
    refused('SECURE_BOOT_KEY', `The variable ${name} holds ${what}, which the policy does not know.`, event),
  );
}

/** What the revocation list must hold, and doesn't. Stops firmware from letting what is known to be broken pass. */
function notRevoked({ event, certificates, hashes }: KeptDatabase, keys: Keys): Refusal<AppraisalCode>[] {
  const held = new Set([...certificates, ...hashes]);
  const open = [...keys.certificates, ...keys.hashes].filter((one) => !held.has(one));
  if (open.length === 0) return [];
  const more = open.length > 1 ? ` and ${open.length - 1} more` : '';
  return [refused('SECURE_BOOT_REVOCATION', `The variable dbx does not revoke ${open[0]}${more}.`, event)];
}

function missing(name: string): Refusal<AppraisalCode> {
  return because('SECURE_BOOT_MISSING', `The firmware did not measure the variable ${name}.`, {
    pointer: `pcr:${SECURE_BOOT_PCR}`,
  });
}

function refused(code: AppraisalCode, message: string, event: number): Refusal<AppraisalCode> {
  return because(code, message, { pointer: `event:${event}` });
}
