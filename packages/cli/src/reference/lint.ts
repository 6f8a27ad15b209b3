import type { AppraisalPolicy } from '@kallio/appraisal';
import { IMA_PCR, INSTANCE_PCR } from '@kallio/evidence';

/**
 * What a policy leaves UNKNOWN, in sentences: it is well-formed, and evidence that it has no values for is never
 * VERIFIED by it.
 */
export function lintPolicy({ pcrs, reference, excluded = {}, tiers }: AppraisalPolicy): string[] {
  const notes: string[] = [];
  const { boot = [], ima } = reference;
  const whole = new Set(Object.keys(reference.pcrs ?? {}).map(Number));
  const byEvent = new Set(boot.map(({ pcr }) => pcr));
  const judged = (pcr: number) => whole.has(pcr) || byEvent.has(pcr) || excluded[String(pcr)] !== undefined;
  if (whole.size === 0 && byEvent.size === 0 && ima === undefined) {
    notes.push('It has no reference values: everything is UNKNOWN by it.');
  }
  const open = pcrs.filter(
    (pcr) => !judged(pcr) && pcr !== INSTANCE_PCR && !(pcr === IMA_PCR && ima !== undefined),
  );
  if (open.length > 0)
    notes.push(`PCR ${open.join(', ')}: no reference value and no reason to exclude; UNKNOWN.`);
  if (!pcrs.includes(INSTANCE_PCR)) {
    notes.push(
      `PCR ${INSTANCE_PCR} is not quoted, so no instance log can be proved; UNKNOWN for every Kallio agent.`,
    );
  }
  if (ima !== undefined && !pcrs.includes(IMA_PCR)) {
    notes.push(
      `It has reference values for files, and PCR ${IMA_PCR}, which proves them, is not quoted; UNKNOWN.`,
    );
  }
  if (ima !== undefined && [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].some((pcr) => !pcrs.includes(pcr))) {
    notes.push('Not all of PCRs 0 to 9 are quoted, so no IMA log can be tied to its boot.');
  }
  const verifiedRoot = boot.some(({ values }) => values.some((value) => value.verifiedRoot === true));
  if (tiers.every((tier) => tier === 'A') && !verifiedRoot) {
    notes.push('It asks for tier A and names no measurement that leads to a verified root: never VERIFIED.');
  }
  if (!tiers.includes('C') && [0, 4, 7].some((pcr) => excluded[String(pcr)] !== undefined)) {
    notes.push(
      'PCRs 0, 4 and 7 are what a measured boot is: where one is excluded, the tier is C, which it does not allow.',
    );
  }
  return notes;
}
