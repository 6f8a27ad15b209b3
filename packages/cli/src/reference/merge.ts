import { type AppraisalPolicy, type PathClass, parsePolicy, type Reference } from '@kallio/appraisal';
import { canonicalBytes, digestOf } from '@kallio/codec';
import { cliError } from '../output/output.ts';

type Boot = NonNullable<Reference['boot']>;
type Ima = NonNullable<Reference['ima']>;

/**
 * The policy with more reference values: nothing that it allows is taken away. It gets another id, as what it allows has
 * changed: the one given, or its own with the first digits of what was added. `CLI_REFERENCE` where a class of files
 * would get other paths, `POLICY_INVALID` where the outcome contradicts itself.
 */
export function mergeReferences(
  policy: AppraisalPolicy,
  added: readonly Reference[],
  id?: string,
): AppraisalPolicy {
  const reference = added.reduce(merge, policy.reference);
  const mark = digestOf(canonicalBytes(added)).slice('sha256:'.length).slice(0, 8);
  const base = policy.id.replace(/:r[0-9a-f]{8}$/, '').slice(0, 117);
  return parsePolicy({ ...policy, id: id ?? `${base}:r${mark}`, reference });
}

function merge(into: Reference, from: Reference): Reference {
  const pcrs = mergePcrs(into.pcrs, from.pcrs);
  const boot = mergeBoot(into.boot, from.boot);
  const ima = mergeIma(into.ima, from.ima);
  return {
    ...(pcrs === undefined ? {} : { pcrs }),
    ...(boot === undefined ? {} : { boot }),
    ...(ima === undefined ? {} : { ima }),
  };
}

function mergePcrs(into: Reference['pcrs'], from: Reference['pcrs']): Reference['pcrs'] {
  if (into === undefined || from === undefined) return into ?? from;
  const pcrs = new Set([...Object.keys(into), ...Object.keys(from)]);
  return Object.fromEntries([...pcrs].map((pcr) => [pcr, union(into[pcr] ?? [], from[pcr] ?? [])]));
}

function mergeBoot(into: Boot = [], from: Boot = []): Boot | undefined {
  const all = [...into, ...from];
  if (all.length === 0) return undefined;
  const groups = Map.groupBy(all, ({ pcr, class: what }) => `${pcr} ${what}`);
  return [...groups.values()].flatMap((those) => {
    const [first] = those;
    if (first === undefined) return [];
    const values = new Map(those.flatMap((one) => one.values).map((value) => [measured(value), value]));
    // What the policy asks for stays asked for.
    const required = into.includes(first) ? first.required : those.find((one) => one.required)?.required;
    return [
      {
        pcr: first.pcr,
        class: first.class,
        values: [...values.values()],
        ...(required === undefined ? {} : { required }),
      },
    ];
  });
}

/** What a value stands for, whatever it is called. */
function measured(value: Boot[number]['values'][number]): string {
  return 'digest' in value ? value.digest : `${value.encoding} ${value.text}`;
}

function mergeIma(into: Ima | undefined, from: Ima | undefined): Ima | undefined {
  if (into === undefined || from === undefined) return into ?? from;
  const classes = new Map<string, PathClass>();
  for (const one of [...into.classes, ...from.classes]) {
    const known = classes.get(one.name);
    classes.set(one.name, known === undefined ? one : mergeClass(known, one));
  }
  const violations = union(into.violations ?? [], from.violations ?? []);
  return { classes: [...classes.values()], ...(violations.length === 0 ? {} : { violations }) };
}

function mergeClass(into: PathClass, from: PathClass): PathClass {
  // Stops files from being let into a place that the policy keeps them out of.
  if (key(into.paths) !== key(from.paths) || into.hostOnly !== from.hostOnly) {
    throw cliError(
      'CLI_REFERENCE',
      `The class “${into.name}” is there already, for other paths.`,
      'Give one of the two another name.',
    );
  }
  const digests = union(into.digests ?? [], from.digests ?? []);
  const sets = [
    ...new Map([...(into.sets ?? []), ...(from.sets ?? [])].map((set) => [set.digest, set])).values(),
  ];
  const { digests: _, sets: __, ...rest } = into;
  return { ...rest, ...(digests.length === 0 ? {} : { digests }), ...(sets.length === 0 ? {} : { sets }) };
}

function key(paths: PathClass['paths']): string {
  return JSON.stringify(paths?.toSorted());
}

function union<T>(a: readonly T[], b: readonly T[]): T[] {
  return [...new Set([...a, ...b])];
}
