import { hash } from 'node:crypto';
import { equalBytes } from '@kallio/codec';
import type { HashName } from '@kallio/tpm/structures';
import { evidenceError } from '../error.ts';
import type { Signature, SignatureList } from './data/signature-list.ts';
import { decodeEvent } from './decode.ts';
import { type EventLog, eventTypeName, type FirmwareEvent } from './event.ts';
import { digestOfBank } from './replay.ts';

/** The PCR of the secure boot policy (PC Client Platform Firmware Profile 1.06, section 3.3.4.8). */
const SECURE_BOOT_PCR = 7;
/** What EV_SEPARATOR measures where nothing has gone wrong (section 10.4.1). */
const SEPARATORS: readonly Uint8Array[] = [new Uint8Array(4), new Uint8Array(4).fill(0xff)];

/**
 * Secure boot as the firmware measured it. Only what is proved by the replay of PCR 7 stands here; what the log does not
 * show measured is `undefined`, and no value for it may be supposed.
 */
export interface SecureBootState {
  /** The variable SecureBoot: images are checked. */
  readonly enabled: boolean | undefined;
  /** Keys and digests by database: `PK`, `KEK`, `db`, `dbx`, and where there are any `dbt`, `dbr`. */
  readonly databases: ReadonlyMap<string, readonly SignatureList[]>;
  /** SecureBoot itself, SetupMode, AuditMode, DeployedMode, where they are measured. */
  readonly flags: ReadonlyMap<string, boolean>;
  /** The entries of the databases that let images pass, in order. */
  readonly authorities: readonly SecureBootAuthority[];
  /**
   * Events of PCR 7 that nobody here can explain: their data is not what was hashed, or they are of another kind
   * (`DMA Protection Disabled`). Where there is one, the machine is not in a state that is known.
   */
  readonly unexplained: readonly number[];
}

/** Why an image was let pass. */
export interface SecureBootAuthority {
  readonly event: number;
  /** The variable: `db`, or one of shim’s. */
  readonly database: string;
  /** The entry, where the database is the firmware’s. */
  readonly signature?: Signature;
}

/**
 * The state of secure boot by events of PCR 7 whose data is itself what was hashed, settings only before the separator. The
 * log’s event types sort them, and each lie about a type ends in less being proved, never in more. A setting that stands
 * there twice, or a log without the separator, is `EVENTLOG_SECURE_BOOT`.
 */
export function secureBootState(log: EventLog, bank: HashName): SecureBootState {
  const settings = new Settings();
  const authorities: SecureBootAuthority[] = [];
  const unexplained: number[] = [];
  const separators = SEPARATORS.map((data) => hash(bank, data, 'buffer'));
  let separated = false;
  for (const event of log.events) {
    if (event.authenticated.pcr !== SECURE_BOOT_PCR) continue;
    const digest = digestOfBank(event.authenticated, bank);
    if (separators.some((separator) => equalBytes(separator, digest))) {
      separated = true;
      continue;
    }
    const authority = authorityOf(event, bank);
    if (authority !== undefined) authorities.push(authority);
    // Stops a setting that software extends after the firmware has ended from counting as the firmware’s.
    else if (separated || !settings.take(event, bank)) unexplained.push(event.index);
  }
  if (!separated) {
    throw evidenceError(
      'EVENTLOG_SECURE_BOOT',
      'Nothing ends the firmware’s settings in PCR 7: no separator.',
      {
        pointer: `pcr:${SECURE_BOOT_PCR}`,
      },
    );
  }
  const { flags, databases } = settings;
  return { enabled: flags.get('SecureBoot'), flags, databases, authorities, unexplained };
}

/** What the firmware measures of its secure boot variables, each once. */
class Settings {
  readonly flags = new Map<string, boolean>();
  readonly databases = new Map<string, readonly SignatureList[]>();

  /** Takes a setting; false for any other event. */
  take(event: FirmwareEvent, bank: HashName): boolean {
    const decoded = decodeEvent(event, bank);
    if (eventTypeName(event.unauthenticated.type) !== 'EV_EFI_VARIABLE_DRIVER_CONFIG') return false;
    if (decoded.proof !== 'all' || decoded.measured.kind !== 'variable') return false;
    const { name, value } = decoded.measured;
    // Stops a second value from being read where the first one counts, or the other way round.
    if (this.flags.has(name) || this.databases.has(name)) {
      throw evidenceError('EVENTLOG_SECURE_BOOT', `The variable ${name} is measured twice.`, {
        pointer: `event:${event.index}`,
      });
    }
    if (value.is === 'flag') this.flags.set(name, value.set);
    else if (value.is === 'signature-lists') this.databases.set(name, value.lists);
    else return false;
    return true;
  }
}

function authorityOf(event: FirmwareEvent, bank: HashName): SecureBootAuthority | undefined {
  if (eventTypeName(event.unauthenticated.type) !== 'EV_EFI_VARIABLE_AUTHORITY') return undefined;
  const decoded = decodeEvent(event, bank);
  if (decoded.proof === 'all' && decoded.measured.kind === 'variable') {
    const { name, value } = decoded.measured;
    return {
      event: event.index,
      database: name,
      ...(value.is === 'signature' ? { signature: value.signature } : {}),
    };
  }
  return decoded.proof === 'part' && decoded.measured.part === 'variable'
    ? { event: event.index, database: decoded.measured.name }
    : undefined;
}
