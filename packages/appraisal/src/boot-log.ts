import { digestOf, equalBytes, fromBase64, fromHex, type Refusal, toHex } from '@kallio/codec';
import {
  digestOfBank,
  type EventLog,
  eventDataIsMeasured,
  eventTypeName,
  INSTANCE_PCR,
  parseEventLog,
  replayEventLog,
} from '@kallio/evidence';
import { type AppraisalCode, because, refusalOf } from './codes.ts';
import type { KeptEventLog } from './continuity.ts';
import type { KnownMeasurement } from './policy/boot-values.ts';
import type { CompiledPolicy } from './policy/compile.ts';
import type { BootClass } from './policy/schema.ts';
import { judgeSecureBoot, keepSecureBoot, SECURE_BOOT_PCR, type SecureBootVerdict } from './secure-boot.ts';
import type { UpdateWindows } from './updates.ts';

/** PCRs that only the firmware and what it starts extend; what a quote shows of them must be what the log says. */
const FIRMWARE_PCRS: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
/** PCRs in which nothing follows the separator: the firmware has ended measuring there (PFP section 3.3.4). */
const CLOSED_PCRS: ReadonlySet<number> = new Set([0, 2, 3, 6]);
const SEPARATED_PCRS: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, 5, 6, 7]);
/** SHA-256 of the separator's four zero bytes: authenticated, where the event's type is not. */
const SEPARATOR = 'df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119';
const MAX_EVENTS = 4096;

/** What the firmware's event log came to. */
export interface BootLogVerdict {
  readonly kept?: KeptEventLog;
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** Quoted PCRs whose value the log leads to, and whose events the policy has reference values for. */
  readonly judged: ReadonlySet<number>;
  /** PCRs that the log leads to, with their values. */
  readonly values: ReadonlyMap<number, Uint8Array>;
}

/** Judges the event log that is shown, or the one of this boot that was shown before. */
export function judgeBootLog(
  shown: string | undefined,
  previous: KeptEventLog | undefined,
  quoted: ReadonlyMap<number, Uint8Array>,
  policy: CompiledPolicy,
  windows: UpdateWindows,
): BootLogVerdict {
  let kept: KeptEventLog | undefined;
  try {
    kept = shown === undefined ? previous : keep(fromBase64(shown));
  } catch (cause) {
    return { refusals: [refusalOf(cause, 'EVENTLOG_MALFORMED')], judged: new Set(), values: new Map() };
  }
  if (kept === undefined) return { refusals: [], judged: new Set(), values: new Map() };

  const { values, events } = judgeKept(kept, policy, windows);
  const refusals: Refusal<AppraisalCode>[] = [...kept.refusals];
  const judged = new Set<number>();
  for (const [pcr, value] of quoted) {
    const replayed = values.get(pcr);
    if (replayed === undefined) {
      // Stops every event of a PCR from being left out of the log, whatever the policy says of that PCR.
      if (FIRMWARE_PCRS.has(pcr) && value.some((byte) => byte !== 0)) {
        const message = `PCR ${pcr} was extended, and the event log holds no event of it.`;
        refusals.push(because('PCR_WITHOUT_EVENTS', message, { pointer: `pcr:${pcr}` }));
      }
      continue;
    }
    // The instance log goes on from what shim measured to its PCR: there the replay of both decides.
    if (pcr !== INSTANCE_PCR && !equalBytes(replayed, value)) {
      // Stops an event from being left out, added, changed or moved. Above PCR 9 user space measures too, without
      // writing to this log: there the value has to be judged otherwise, or stays unexplained.
      if (FIRMWARE_PCRS.has(pcr)) {
        refusals.push(
          because(
            'EVENTLOG_MISMATCH',
            `The event log leads to another value of PCR ${pcr} than was quoted.`,
            {
              pointer: `pcr:${pcr}`,
            },
          ),
        );
      }
      continue;
    }
    const found = events.get(pcr);
    if (found === undefined) continue;
    judged.add(pcr);
    refusals.push(...found.refusals);
    for (const { update, pointer } of found.used) windows.use(update, pointer);
  }
  return { kept, refusals, judged, values };
}

/** What a log comes to by a policy, whatever was quoted: for each PCR its value, and what is to be said of its events. */
interface JudgedLog {
  readonly policy: CompiledPolicy;
  /** Of the windows it was judged in. */
  readonly key: string;
  readonly values: ReadonlyMap<number, Uint8Array>;
  /** Only of PCRs that the policy has reference values for. */
  readonly events: ReadonlyMap<number, JudgedEvents>;
}

/** What is to be said of the events of one PCR. */
interface JudgedEvents {
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** Events that are known by an announced update alone. */
  readonly used: readonly { readonly update: string; readonly pointer: string }[];
}

/** A machine shows its log once in a boot, and is judged by it as long as that lasts: the last judgement of each log. */
const judgedLogs = new WeakMap<KeptEventLog, JudgedLog>();

function judgeKept(kept: KeptEventLog, policy: CompiledPolicy, windows: UpdateWindows): JudgedLog {
  let judged = judgedLogs.get(kept);
  if (judged?.policy !== policy || judged.key !== windows.key) {
    judged = {
      policy,
      key: windows.key,
      values: new Map(Object.entries(kept.pcrs).map(([pcr, value]) => [Number(pcr), fromHex(value)])),
      events: new Map(judgedPcrs(policy).map((pcr) => [pcr, judgeEvents(pcr, kept, policy, windows)])),
    };
    judgedLogs.set(kept, judged);
  }
  return judged;
}

/** PCRs whose events have reference values, be it in an update. */
function judgedPcrs({ boot, secureBoot, updates }: CompiledPolicy): number[] {
  const named = [boot, ...updates.map((update) => update.boot)].flatMap((by) => [...by.keys()]);
  return [...new Set(secureBoot === undefined ? named : [...named, SECURE_BOOT_PCR])];
}

/** The events of a PCR against their reference values. */
function judgeEvents(
  pcr: number,
  kept: KeptEventLog,
  policy: CompiledPolicy,
  windows: UpdateWindows,
): JudgedEvents {
  const refusals: Refusal<AppraisalCode>[] = [];
  const used: { update: string; pointer: string }[] = [];
  const seen = new Set<BootClass>();
  const secureBoot = pcr === SECURE_BOOT_PCR ? secureBootOf(kept, policy, windows) : undefined;
  refusals.push(...(secureBoot?.refusals ?? []));
  for (const event of kept.events) {
    if (event.pcr !== pcr) continue;
    const pointer = `event:${event.index}`;
    const found = knownMeasurement(event, policy, windows);
    if (found !== undefined) {
      seen.add(found.known.class);
      if (found.update !== undefined) used.push({ update: found.update, pointer });
    }
    // Where a separator may stand is judged already.
    else if (
      !secureBoot?.judged.has(event.index) &&
      !(SEPARATED_PCRS.has(pcr) && event.digest === SEPARATOR)
    ) {
      const lapsed = windows.lapsed.find(({ boot }) => boot.get(pcr)?.known.has(event.digest));
      refusals.push(
        lapsed === undefined
          ? because(
              'EVENT_UNKNOWN',
              `Event ${event.index}, in PCR ${pcr}, has no reference value: ${event.digest}.`,
              { pointer },
            )
          : because(
              'EVENT_LAPSED',
              `Event ${event.index}, in PCR ${pcr}, is of the update ${lapsed.id}, which has lapsed.`,
              { pointer, hint: 'Announce the update anew, under another id.' },
            ),
      );
    }
  }
  // Stops firmware that leaves a measurement out: each event that is there is known, but one that must be is not.
  for (const required of policy.boot.get(pcr)?.required ?? []) {
    if (!seen.has(required)) {
      const message = `PCR ${pcr} holds no known measurement of the class ${required}.`;
      refusals.push(because('EVENT_MISSING', message, { pointer: `pcr:${pcr}` }));
    }
  }
  return { refusals, used };
}

function secureBootOf(
  kept: KeptEventLog,
  policy: CompiledPolicy,
  windows: UpdateWindows,
): SecureBootVerdict | undefined {
  if (policy.secureBoot === undefined) return undefined;
  return judgeSecureBoot(kept.secureBoot, policy.secureBoot, (index) => {
    const event = kept.events.find((one) => one.index === index);
    return event !== undefined && knownMeasurement(event, policy, windows) !== undefined;
  });
}

/** What a digest in a PCR is known as, and by which update where the policy's own values don't have it. */
export function knownMeasurement(
  { pcr, digest }: { readonly pcr: number; readonly digest: string },
  { boot }: CompiledPolicy,
  { valid }: UpdateWindows,
): { readonly known: KnownMeasurement; readonly update?: string } | undefined {
  const known = boot.get(pcr)?.known.get(digest);
  if (known !== undefined) return { known };
  for (const update of valid) {
    const announced = update.boot.get(pcr)?.known.get(digest);
    if (announced !== undefined) return { known: announced, update: update.id };
  }
  return undefined;
}

function keep(bytes: Uint8Array): KeptEventLog {
  const log = parseEventLog(bytes);
  if (log.events.length > MAX_EVENTS) {
    return {
      digest: digestOf(bytes),
      pcrs: {},
      events: [],
      refusals: [because('EVENTLOG_TOO_LARGE', `The event log has more than ${MAX_EVENTS} events.`)],
    };
  }
  const values = replayEventLog(log, 'sha256');
  const secureBoot = keepSecureBoot(log);
  return {
    digest: digestOf(bytes),
    pcrs: Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), toHex(value)])),
    events: log.events.map(({ index, authenticated }) => ({
      index,
      pcr: authenticated.pcr,
      digest: toHex(digestOfBank(authenticated, 'sha256')),
    })),
    refusals: [...judgeData(log), ...judgeSeparators(log)],
    ...(secureBoot === undefined ? {} : { secureBoot }),
  };
}

/** Types of event whose data is always itself what was hashed (PFP section 10.4.1): for them the log can be caught lying. */
const SELF_MEASURED: ReadonlySet<string> = new Set([
  'EV_SEPARATOR',
  'EV_EFI_VARIABLE_DRIVER_CONFIG',
  'EV_EFI_ACTION',
]);

/**
 * The type of an event, and its data, are the log's word; PCR and digest decide. Stops data that a person would read,
 * and a type that a reader sorts by, from being put beside the digest of something else.
 */
function judgeData(log: EventLog): Refusal<AppraisalCode>[] {
  return log.events.flatMap((event) => {
    const type = eventTypeName(event.unauthenticated.type);
    if (!SELF_MEASURED.has(type) || eventDataIsMeasured(event, 'sha256')) return [];
    const message = `Event ${event.index} is of the type ${type}, but its data is not what was measured.`;
    return [because('EVENT_DATA', message, { pointer: `event:${event.index}` })];
  });
}

/**
 * The separator ends what the firmware measures before it starts anything else. Stops software that runs later from
 * writing measurements that look like the firmware's own, a secure boot setting for one.
 */
function judgeSeparators(log: EventLog): Refusal<AppraisalCode>[] {
  const refusals: Refusal<AppraisalCode>[] = [];
  const separated = new Set<number>();
  for (const { index, authenticated, unauthenticated } of log.events) {
    const { pcr } = authenticated;
    if (!SEPARATED_PCRS.has(pcr)) continue;
    const isSeparator = toHex(digestOfBank(authenticated, 'sha256')) === SEPARATOR;
    const late = separated.has(pcr);
    const setting = eventTypeName(unauthenticated.type) === 'EV_EFI_VARIABLE_DRIVER_CONFIG';
    if (late && (isSeparator || CLOSED_PCRS.has(pcr) || (pcr === 7 && setting))) {
      refusals.push(
        because('EVENT_SEPARATOR', `Event ${index} was measured to PCR ${pcr} after its separator.`, {
          pointer: `event:${index}`,
        }),
      );
    }
    if (isSeparator) separated.add(pcr);
  }
  return refusals;
}
