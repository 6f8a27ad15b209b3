import type { AppraisalPolicy, BootValue } from '@kallio/appraisal';
import { PathClasses } from '@kallio/appraisal';
import { fromBase64, type Refusal, toHex } from '@kallio/codec';
import {
  decodeImaEntry,
  digestOfBank,
  type FirmwareEvent,
  parseEventLog,
  readImaLog,
} from '@kallio/evidence';
import { describeEvent } from './boot-event.ts';
import type { Judgeable } from './judged.ts';

/** One thing that is not as the policy has it: what, what was found, what would have been right. */
export interface Difference {
  readonly code: string;
  /** Event, file or PCR. */
  readonly what: string;
  readonly found: string;
  /** The values that would have passed, by their names; none where the policy has no value at all. */
  readonly expected: readonly string[];
}

/** Most values that are named. */
const MAX_EXPECTED = 8;

/**
 * What each refusal of evidence is about, in words. `listed` is what is known of files by path (`kallio reference
 * --paths`); policies hold digests only. Takes evidence that was judged: its logs can be read.
 */
export function differencesOf(
  refusals: readonly Refusal[],
  measurements: Judgeable,
  policy: AppraisalPolicy,
  listed: ReadonlyMap<string, readonly string[]>,
): Difference[] {
  const { eventLog, ima, evidence } = measurements;
  const events = lazy(() => (eventLog === undefined ? [] : parseEventLog(fromBase64(eventLog)).events));
  const entries = lazy(() => (ima === undefined ? [] : [...readImaLog(fromBase64(ima))]));
  const classes = new PathClasses(policy.reference.ima?.classes ?? []);
  return refusals.map((refusal) => {
    const { code, message, pointer = '' } = refusal;
    const index = Number(/^(?:event|ima):(\d+)$/.exec(pointer)?.[1] ?? Number.NaN);
    if (code.startsWith('EVENT_') && pointer.startsWith('event:')) {
      const event = events().find((one) => one.index === index);
      if (event !== undefined) return ofEvent(code, event, policy);
    }
    if (code === 'EVENT_MISSING') {
      const name = / class ([a-z-]+)/.exec(message)?.[1];
      const pcr = Number(pointer.slice('pcr:'.length));
      return {
        code,
        what: `PCR ${pcr}, ${name ?? 'a measurement'}`,
        found: 'nothing known',
        expected: bootValues(policy, pcr, name),
      };
    }
    if (code.startsWith('IMA_') && pointer.startsWith('ima:')) {
      const entry = entries()[index];
      if (entry !== undefined && !entry.violation) {
        const { name, digest } = decodeImaEntry(entry);
        const known = (listed.get(name) ?? []).map((value) => `${value} (${name})`);
        const expected = known.length > 0 ? known : [whatWouldDo(classes.of(name))];
        return {
          code,
          what: `${name} (IMA entry ${index})`,
          found: `${digest.algorithm}:${toHex(digest.bytes)}`,
          expected,
        };
      }
    }
    if (code.startsWith('PCR_') && pointer.startsWith('pcr:')) {
      const pcr = pointer.slice('pcr:'.length);
      const found = evidence.pcrs[0]?.values[pcr] ?? 'no value';
      return { code, what: `PCR ${pcr}`, found, expected: shorten(policy.reference.pcrs?.[pcr] ?? []) };
    }
    return { code, what: pointer === '' ? 'the evidence' : pointer, found: message, expected: [] };
  });
}

function ofEvent(code: string, event: FirmwareEvent, policy: AppraisalPolicy): Difference {
  const { class: name, description } = describeEvent(event);
  const { pcr } = event.authenticated;
  const ofClass = bootValues(policy, pcr, name);
  return {
    code,
    what: `event ${event.index}, PCR ${pcr}, ${name}: ${description}`,
    found: toHex(digestOfBank(event.authenticated, 'sha256')),
    // The log's word for what it is may be wrong: then everything that the PCR may hold is named.
    expected: ofClass.length > 0 ? ofClass : bootValues(policy, pcr),
  };
}

function bootValues({ reference }: AppraisalPolicy, pcr: number, name?: string): string[] {
  const those = (reference.boot ?? []).filter(
    (one) => one.pcr === pcr && (name === undefined || one.class === name),
  );
  return shorten(those.flatMap(({ values }) => values.map(describeValue)));
}

function describeValue(value: BootValue): string {
  return 'digest' in value ? `${value.digest} (${value.name})` : `“${value.text}” (${value.name})`;
}

function shorten(values: readonly string[]): string[] {
  const more = values.length - MAX_EXPECTED;
  return more <= 0 ? [...values] : [...values.slice(0, MAX_EXPECTED), `… and ${more} more`];
}

function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

const LINE = /^(\\?)([0-9a-f]{64,128}) {2}(\/.*)$/;

/** Digests by path, out of a list as sha256sum and `--paths` write it. Lines of another form are passed over. */
export function parseListing(text: string): Map<string, string[]> {
  const listed = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [, escaped, digest = '', name = ''] = LINE.exec(line) ?? [];
    if (escaped === undefined) continue;
    const path =
      escaped === ''
        ? name
        : name.replaceAll(/\\([nr\\])/g, (_, c) => ({ n: '\n', r: '\r' })[c as 'n' | 'r'] ?? '\\');
    listed.set(path, [...(listed.get(path) ?? []), digest]);
  }
  return listed;
}

/** What a file of a class would have to be; of a file that the policy has no class for, nothing would do. */
function whatWouldDo(pathClass: string | undefined): string {
  return pathClass === undefined
    ? 'nothing: the policy has no class for this path'
    : `a digest of the class “${pathClass}”`;
}
