import type { AppraisalPolicy, QuoteAppraisal, Reference } from '@kallio/appraisal';
import { equalBytes, fromBase64, fromHex, KallioError, toHex } from '@kallio/codec';
import {
  decodeImaEntry,
  digestOfBank,
  type EventLog,
  IMA_PCR,
  INSTANCE_PCR,
  parseEventLog,
  readImaLog,
  replayEventLog,
} from '@kallio/evidence';
import type { AttesterMeasurements } from '@kallio/protocol';
import { describeEvent } from './boot-event.ts';
import { type CollectedFiles, Collector } from './collector.ts';
import type { ReferenceFile } from './fragment.ts';
import { judgeMeasurements } from './judged.ts';

/** What was learnt. */
export interface Learnt extends CollectedFiles {
  readonly file: ReferenceFile;
  /** As sha256sum lists them. */
  readonly listing: string;
  /** The PCRs that the quote covered. */
  readonly pcrs: readonly number[];
}

type Boot = NonNullable<Reference['boot']>[number];

const SEPARATOR = 'df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119';
const LAST_FIRMWARE_PCR = 9;
/** One measurement of these must be there in every boot; what else there is differs from one to the next. */
const REQUIRED: ReadonlySet<string> = new Set([
  'firmware',
  'secure-boot',
  'boot-loader',
  'kernel',
  'initrd',
  'command-line',
]);

/**
 * Reference values out of what a machine showed that an operator holds to be as it should be. Refuses evidence that is
 * not authentic, or whose logs do not lead to its quote: anybody could have written those values.
 */
export function learn(measurements: AttesterMeasurements): Learnt {
  const appraisal = judgeMeasurements(measurements);
  requireAuthentic(measurements, appraisal);
  const { attester, result, eventLog, ima, evidence, imageFiles } = measurements;
  const limits: string[] = [
    `Learnt from ${attester} as it was: whatever was wrong with it is a reference value now.`,
  ];
  const quoted = new Map(
    Object.entries(evidence.pcrs[0]?.values ?? {}).map(([pcr, value]) => [Number(pcr), fromHex(value)]),
  );
  const boot =
    eventLog === undefined ? undefined : bootValues(parseEventLog(fromBase64(eventLog)), quoted, attester);
  const explained = new Set(boot?.keys());
  const covered = appraisal.replayed.imaEntries ?? 0;
  const collector = new Collector();
  if (ima !== undefined) {
    learnFiles(fromBase64(ima), covered, new Set(imageFiles), collector, limits);
    explained.add(IMA_PCR);
  }
  explained.add(INSTANCE_PCR);
  const pcrs = wholePcrs(quoted, explained, limits);
  if (boot?.has(1) === true) {
    limits.push(
      'PCR 1 holds what is this machine’s own (boot order, serial numbers): others will differ in it.',
    );
  }
  const collected = collector.collected(attester);
  return {
    ...collected,
    file: {
      references: 'kallio-references-v1',
      sources: [{ kind: 'attester', name: attester, digest: result }],
      reference: {
        ...(Object.keys(pcrs).length === 0 ? {} : { pcrs }),
        ...(boot === undefined || boot.size === 0 ? {} : { boot: [...boot.values()].flat() }),
        ...(collected.classes.length === 0 ? {} : { ima: { classes: [...collected.classes] } }),
      },
      limits,
    },
    listing: collector.listing(),
    pcrs: [...quoted.keys()].sort((a, b) => a - b),
  };
}

/** A policy with nothing but what was learnt. */
export function policyOf({ file, pcrs }: Learnt, id: string): AppraisalPolicy {
  return {
    policy: 'kallio-policy-v1',
    id,
    bank: 'sha256',
    pcrs: [...pcrs],
    reference: file.reference,
    tiers: ['A', 'B', 'C'],
  };
}

/** Without a policy there is one reason left against evidence that holds: that there is no policy. */
function requireAuthentic({ attester }: AttesterMeasurements, { platform }: QuoteAppraisal): void {
  const wrong = platform.refusals.find(({ code }) => code !== 'POLICY_NONE');
  if (wrong === undefined) return;
  throw new KallioError(wrong.code, `Nothing is learnt from ${attester}: ${wrong.message}`, {
    pointer: wrong.pointer,
    hint: 'Only evidence whose quote and logs hold can be learnt from.',
  });
}

/** The events of each PCR that the log leads to. Separators are known to every policy. */
function bootValues(
  log: EventLog,
  quoted: ReadonlyMap<number, Uint8Array>,
  attester: string,
): Map<number, Boot[]> {
  const replayed = replayEventLog(log, 'sha256');
  const boot = new Map<number, Boot[]>();
  for (const [pcr, value] of replayed) {
    const shown = quoted.get(pcr);
    if (pcr > LAST_FIRMWARE_PCR || shown === undefined || !equalBytes(value, shown)) continue;
    const events = log.events.filter(({ authenticated }) => authenticated.pcr === pcr);
    const classes = Map.groupBy(events, (event) => describeEvent(event).class);
    const references = [...classes].flatMap(([name, those]): Boot[] => {
      const values = new Map<string, string>();
      for (const event of those) {
        const digest = toHex(digestOfBank(event.authenticated, 'sha256'));
        if (digest === SEPARATOR) continue;
        values.set(
          digest,
          `${attester} event ${event.index}: ${describeEvent(event).description}`.slice(0, 128),
        );
      }
      if (values.size === 0) return [];
      return [
        {
          pcr,
          class: name,
          values: [...values].map(([digest, what]) => ({ name: what, digest })),
          ...(REQUIRED.has(name) ? { required: true as const } : {}),
        },
      ];
    });
    // A PCR with nothing but its separator has a value that says as much.
    if (references.length > 0) boot.set(pcr, references);
  }
  return boot;
}

function learnFiles(
  ima: Uint8Array,
  covered: number,
  inImages: ReadonlySet<string>,
  collector: Collector,
  limits: string[],
): void {
  let violations = 0;
  let weak = 0;
  for (const entry of readImaLog(ima)) {
    // What runs ahead of the quote is proved by nothing yet. The first entry is no file.
    if (entry.index >= covered || entry.index === 0) continue;
    if (entry.violation) {
      violations++;
      continue;
    }
    const { name, digest } = decodeImaEntry(entry);
    const value = toHex(digest.bytes);
    if (inImages.has(value)) continue;
    if (!/^sha(?:256|384|512)$/.test(digest.algorithm)) weak++;
    else collector.add(name, digest.type === 'verity' ? `verity:${value}` : value);
  }
  if (violations > 0) {
    limits.push(
      `${violations} violations were measured and not learnt: the policy’s author names the files they may be of.`,
    );
  }
  if (weak > 0) limits.push(`${weak} entries have digests of weak algorithms, which are not learnt.`);
}

/** Values of PCRs that no log explains. */
function wholePcrs(
  quoted: ReadonlyMap<number, Uint8Array>,
  explained: ReadonlySet<number>,
  limits: string[],
): NonNullable<Reference['pcrs']> {
  const rest = [...quoted].filter(([pcr]) => !explained.has(pcr));
  const extended = rest.filter(([, value]) => value.some((byte) => byte !== 0)).map(([pcr]) => pcr);
  if (extended.length > 0) {
    limits.push(
      `Of PCR ${extended.join(', ')} the whole value was learnt: any change in what is measured there is a change of it.`,
    );
  }
  return Object.fromEntries(rest.map(([pcr, value]) => [String(pcr), [toHex(value)]]));
}
