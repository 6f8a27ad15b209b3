import type { Refusal } from '@kallio/codec';
import { type AppraisalCode, consequenceOf, type State } from '../codes.ts';
import type { Status, TrustVector } from './claims.ts';

/** From the best to the worst. `none` stands beside, not among them: it says that nothing is claimed. */
const ORDER: readonly Status[] = ['affirming', 'warning', 'contraindicated'];

/** The tier of a claim's value (draft-ietf-rats-ar4si, section 2.3.2). */
function statusOfClaim(value: number): Status {
  const size = value < 0 ? -value - 1 : value;
  if (size >= 96) return 'contraindicated';
  if (size >= 32) return 'warning';
  return size >= 2 ? 'affirming' : 'none';
}

/**
 * The status of a subject: that of its state, and never better than its worst claim. A claim that asserts nothing
 * (0) is no claim; one that met something unknown (1) keeps the whole from being affirmed.
 */
export function statusOf(state: State, vector: TrustVector): Status {
  const claims = Object.values(vector).filter((value) => value !== 0);
  const worst = Math.max(0, ...claims.map((value) => ORDER.indexOf(statusOfClaim(value))));
  const status = ORDER[Math.max(worst, ORDER.indexOf(STATUS_OF_STATE[state]))] ?? 'none';
  const unknown =
    STATUS_OF_STATE[state] === 'none' || claims.some((value) => statusOfClaim(value) === 'none');
  return status === 'affirming' && unknown ? 'none' : status;
}

const STATUS_OF_STATE: Readonly<Record<State, Status>> = {
  VERIFIED: 'affirming',
  DEGRADED: 'warning',
  UNLOGGED: 'warning',
  VIOLATED: 'contraindicated',
  UNKNOWN: 'none',
};

/** `affirmed`, with every claim that a refusal touches put to the worst value that touches it. */
export function vectorOf(affirmed: TrustVector, refusals: readonly Refusal<AppraisalCode>[]): TrustVector {
  const vector: TrustVector = { ...affirmed };
  for (const { code } of refusals) {
    const { claim, value } = consequenceOf(code);
    const before = vector[claim];
    // An affirming 2 is better than an unknown 1, although it is the greater number.
    if (before === undefined || statusOfClaim(before) === 'affirming' || value > before)
      vector[claim] = value;
  }
  return vector;
}
