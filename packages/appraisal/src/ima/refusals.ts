import type { Refusal } from '@kallio/codec';
import { IMA_PCR } from '@kallio/evidence';
import { type AppraisalCode, because } from '../codes.ts';
import type { KeptIma, UnmatchedEntry } from '../continuity.ts';
import type { CompiledPolicy, ImaReferences } from '../policy/compile.ts';
import type { UpdateWindows } from '../updates.ts';
import { hasReference, VIOLATION } from './digest.ts';

/** Why an entry that no reference value knows is refused. */
export function refusalOfEntry(
  { index, name, digest }: UnmatchedEntry,
  references: ImaReferences | undefined,
  { lapsed }: UpdateWindows,
): Refusal<AppraisalCode> {
  const pointer = `ima:${index}`;
  if (index === 0) {
    const message = 'The IMA log does not begin with the SHA-256 aggregate of the quoted PCRs 0 to 9.';
    return because('IMA_BOOT_AGGREGATE', message, { pointer });
  }
  if (digest === VIOLATION) {
    return because('IMA_VIOLATION', `The kernel could not vouch for what was read of ${name}.`, { pointer });
  }
  const own = references?.classes.of(name);
  const late = lapsed.find(({ ima }) => own !== undefined && hasReference(ima.get(own), digest));
  if (late !== undefined) {
    return because(
      'IMA_FILE_LAPSED',
      `${name} was measured as ${digest}, which is of the update ${late.id}: that has lapsed.`,
      { pointer, hint: 'Announce the update anew, under another id.' },
    );
  }
  const other = [...(references?.digests ?? [])].find(([, one]) => hasReference(one.index, digest))?.[0];
  // Stops an approved file from being put in another's place, where the policy asks for more than approval.
  if (own !== undefined && other !== undefined && other !== own) {
    return because(
      'IMA_FILE_MISPLACED',
      `${name} was measured as ${digest}, which is known for files of the class ${other}, but not for ${own}.`,
      { pointer },
    );
  }
  return because('IMA_FILE_UNKNOWN', `${name} was measured, and has no reference value: ${digest}.`, {
    pointer,
  });
}

/** A set of reference values is not here. */
export function missingSets({ missingSets: [first] }: CompiledPolicy): Refusal<AppraisalCode> {
  return because(
    'REFERENCE_SET_MISSING',
    `The policy names the reference set ${first?.name}, ${first?.digest}, which is not here.`,
    {
      pointer: '/reference/ima/classes',
      hint: 'Put its file where the policy is read from: see docs/policy.md.',
    },
  );
}

/** The log that is not shown again was judged by another policy. */
export function judgedOtherwise({ entries }: KeptIma): Refusal<AppraisalCode> {
  return because(
    'LOG_POSITION',
    `The ${entries} entries of the IMA log that were shown in this boot were judged by another policy.`,
    { pointer: '/ima', hint: 'Show the log again, from its first entry.' },
  );
}

/** The policy says nothing of what IMA measures. */
export function noReference(): Refusal<AppraisalCode> {
  return because('IMA_NO_REFERENCE', 'The policy has no reference values for what IMA measures.', {
    pointer: `pcr:${IMA_PCR}`,
  });
}

/** No log is shown, though the policy says what it may hold. */
export function missing(): Refusal<AppraisalCode> {
  return because('IMA_MISSING', 'The policy has reference values for IMA, but no IMA log is shown.', {
    pointer: '/ima',
  });
}
