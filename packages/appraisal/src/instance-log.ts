import { equalBytes, fromHex, type Refusal, toHex } from '@kallio/codec';
import {
  type EvidenceMessage,
  INSTANCE_PCR,
  type LoggedContainer,
  replayInstanceLog,
  runningInstances,
  zeroPcr,
} from '@kallio/evidence';
import { type AppraisalCode, because, refusalOf } from './codes.ts';
import { type Continuity, MAX_CONTAINERS } from './continuity.ts';

type InstanceLogState = Continuity['instanceLog'];

/**
 * The instance log of a machine that has just started. PCR 14 starts where the boot left it: at zero, or where shim's
 * own measurements of its keys (MokList) led to, which stand in the firmware's event log.
 */
function noInstances(bootValue: Uint8Array | undefined): InstanceLogState {
  return { entries: 0, pcr: toHex(bootValue ?? zeroPcr('sha256')), containers: [], images: [] };
}

/** What the instance log came to. */
export interface InstanceLogVerdict {
  /** Where it stands now. What could not be believed has not moved it. */
  readonly state: InstanceLogState;
  readonly containers: ReadonlyMap<string, LoggedContainer>;
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** True when the log is shown to be all that PCR 14 was extended with. */
  readonly explained: boolean;
  /** True while it goes on in the next message: until then nothing is known of any instance. */
  readonly incomplete: boolean;
}

/**
 * Replays the instance log from where it was judged last to the quoted PCR 14. Where no log is among what is shown, an
 * untouched PCR 14 shows that there is nothing to show; any other is left for whoever judges PCRs by their value.
 */
export function judgeInstanceLog(
  log: EvidenceMessage['instanceLog'] | undefined,
  quoted: ReadonlyMap<number, Uint8Array>,
  previous: InstanceLogState | undefined,
  bootValue: Uint8Array | undefined,
): InstanceLogVerdict {
  const held = previous ?? noInstances(bootValue);
  const unmoved = (refusal: Refusal<AppraisalCode>): InstanceLogVerdict => ({
    state: held,
    containers: byId(held.containers),
    refusals: [refusal],
    explained: false,
    incomplete: false,
  });
  if (log === undefined) {
    const value = quoted.get(INSTANCE_PCR);
    const explained = value !== undefined && equalBytes(fromHex(held.pcr, 32), value);
    return { state: held, containers: byId(held.containers), refusals: [], explained, incomplete: false };
  }
  // Stops entries from being skipped, and a position of an earlier boot from being kept in this one.
  if (log.from !== held.entries) {
    return unmoved(
      because(
        'LOG_POSITION',
        `The instance log is shown from entry ${log.from}, but in this boot it was judged up to entry ${held.entries}.`,
        { pointer: '/instanceLog/from', hint: 'Ask for a nonce: its answer says where to go on from.' },
      ),
    );
  }
  const value = quoted.get(INSTANCE_PCR);
  if (value === undefined) {
    return unmoved(
      because('LOG_WITHOUT_QUOTE', `PCR ${INSTANCE_PCR} is not quoted, so nothing proves the instance log.`, {
        pointer: `pcr:${INSTANCE_PCR}`,
        hint: `Add PCR ${INSTANCE_PCR} to the policy.`,
      }),
    );
  }
  let replayed: Uint8Array;
  try {
    replayed = replayInstanceLog(fromHex(held.pcr, 32), log.entries, log.from);
  } catch (cause) {
    return unmoved(refusalOf(cause, 'INSTANCE_LOG_MISMATCH'));
  }
  const proven = equalBytes(replayed, value);
  if (proven && log.entries.length === 0 && held.unproven !== true) {
    return {
      state: held,
      containers: byId(held.containers),
      refusals: [],
      explained: true,
      incomplete: false,
    };
  }
  // What goes on in the next message counts for nothing until a quote covers it.
  const incomplete = !proven && log.more === true && log.entries.length > 0;
  // Stops an entry from being left out, added, changed or moved: only the TPM's own history gives this value.
  if (!proven && !incomplete) {
    return {
      ...unmoved(
        because(
          'INSTANCE_LOG_MISMATCH',
          `The instance log, ${log.from + log.entries.length} entries, does not lead to the PCR ${INSTANCE_PCR} that was quoted.`,
          { pointer: `pcr:${INSTANCE_PCR}` },
        ),
      ),
      // Entries that no quote has covered are not gone on from: the log is shown anew from the first one.
      ...(held.unproven === true ? { state: noInstances(bootValue) } : {}),
    };
  }
  const containers = runningInstances(log.entries, byId(held.containers));
  const images = new Set([...held.images, ...log.entries.map(({ event }) => event.image)]);
  // Stops a log that opens containers, or names images, without end from filling the verifier's store.
  if (containers.size > MAX_CONTAINERS || images.size > MAX_CONTAINERS) {
    return unmoved(
      because(
        'INSTANCE_LOG_TOO_LARGE',
        `The instance log holds more than ${MAX_CONTAINERS} containers open, or names more images.`,
      ),
    );
  }
  return {
    state: {
      entries: log.from + log.entries.length,
      pcr: toHex(replayed),
      containers: [...containers.values()],
      images: [...images],
      ...(incomplete ? { unproven: true } : {}),
    },
    containers,
    refusals: incomplete
      ? [
          because(
            'LOG_INCOMPLETE',
            `The instance log was shown up to entry ${log.from + log.entries.length}, and goes on.`,
            { pointer: '/instanceLog' },
          ),
        ]
      : [],
    explained: proven,
    incomplete,
  };
}

function byId(containers: readonly LoggedContainer[]): Map<string, LoggedContainer> {
  return new Map(containers.map((container) => [container.container, container]));
}
