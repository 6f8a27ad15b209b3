import { decodeShape, KallioError } from '@kallio/codec';
import { AppraisalPolicy, type Update } from './schema.ts';

/** Code of a policy that can't be used. */
export type PolicyCode = 'POLICY_INVALID';

/** A policy out of JSON; `POLICY_INVALID` with a pointer to what is wrong in it. */
export function parsePolicy(json: unknown): AppraisalPolicy {
  const code: PolicyCode = 'POLICY_INVALID';
  const policy = decodeShape(AppraisalPolicy, json, code, 'The policy');
  checkPolicy(policy);
  return policy;
}

/** What a schema can't say. Each of these would leave something unjudged that the policy seems to judge. */
export function checkPolicy({ pcrs, reference, updates = [], excluded = {} }: AppraisalPolicy): void {
  const quoted = new Set(pcrs);
  const named = [
    ...Object.keys(reference.pcrs ?? {}).map((pcr) => [`/reference/pcrs/${pcr}`, Number(pcr)] as const),
    ...Object.keys(excluded).map((pcr) => [`/excluded/${pcr}`, Number(pcr)] as const),
    ...(reference.boot ?? []).map(({ pcr }, i) => [`/reference/boot/${i}/pcr`, pcr] as const),
    ...(reference.secureBoot === undefined ? [] : [['/reference/secureBoot', 7] as const]),
    ...updates.flatMap(({ reference: { boot = [], pcrs: values = {} } }, i) => [
      ...boot.map(({ pcr }, k) => [`/updates/${i}/reference/boot/${k}/pcr`, pcr] as const),
      ...Object.keys(values).map((pcr) => [`/updates/${i}/reference/pcrs/${pcr}`, Number(pcr)] as const),
    ]),
  ];
  for (const [pointer, pcr] of named) {
    if (!quoted.has(pcr)) throw invalid(pointer, `PCR ${pcr} is spoken of, but is not among the quoted PCRs`);
  }
  for (const pcr of Object.keys(excluded)) {
    if (reference.pcrs?.[pcr] !== undefined)
      throw invalid(`/excluded/${pcr}`, `PCR ${pcr} is excluded, and has reference values`);
  }
  const { enabled: _, ...databases } = reference.secureBoot ?? { enabled: true };
  for (const [name, { certificates, hashes }] of Object.entries(databases)) {
    if (certificates === undefined && hashes === undefined)
      throw invalid(`/reference/secureBoot/${name}`, `${name} has no reference values`);
  }
  const classes = reference.ima?.classes ?? [];
  checkClasses(classes);
  checkUpdates(updates, new Set(classes.map(({ name }) => name)));
}

type Classes = NonNullable<AppraisalPolicy['reference']['ima']>['classes'];

function checkClasses(classes: Classes): void {
  const seen = new Set<string>();
  const paths = new Set<string>();
  let others = 0;
  for (const [i, one] of classes.entries()) {
    const pointer = `/reference/ima/classes/${i}`;
    if (seen.has(one.name)) throw invalid(`${pointer}/name`, `The class ${one.name} is there twice`);
    seen.add(one.name);
    if (one.digests === undefined && one.sets === undefined)
      throw invalid(pointer, `The class ${one.name} has no reference values`);
    if (one.paths === undefined && ++others > 1)
      throw invalid(pointer, 'Two classes have no paths; one can hold every other file');
    for (const [k, path] of (one.paths ?? []).entries()) {
      if (paths.has(path)) throw invalid(`${pointer}/paths/${k}`, `The path ${path} is of two classes`);
      paths.add(path);
    }
  }
}

function checkUpdates(updates: readonly Update[], classes: ReadonlySet<string>): void {
  const seen = new Set<string>();
  for (const [i, { id, reference }] of updates.entries()) {
    // One window for two announcements: the first one's boots would be the second one's.
    if (seen.has(id)) throw invalid(`/updates/${i}/id`, `The update ${id} is there twice`);
    seen.add(id);
    for (const [k, one] of (reference.ima ?? []).entries()) {
      const pointer = `/updates/${i}/reference/ima/${k}`;
      if (!classes.has(one.class)) throw invalid(pointer, `There is no class ${one.class}`);
      if (one.digests === undefined && one.sets === undefined)
        throw invalid(pointer, `The update ${id} has no reference values for the class ${one.class}`);
    }
  }
}

function invalid(pointer: string, why: string): KallioError<PolicyCode> {
  return new KallioError('POLICY_INVALID', `The policy can’t be used: ${why}.`, { pointer });
}
