import { Exact, Hex } from '@kallio/codec';
import { type Static, Type } from 'typebox';

/** SHA-256 PCR values by PCR number. */
const PcrValues = Type.Record(
  Type.String({ pattern: '^(?:[0-9]|1[0-9]|2[0-3])$' }),
  Type.String({ pattern: '^[0-9a-f]{64}$' }),
  { additionalProperties: false },
);

/** PCR values in which a build host would sign: what an operator is shown, and approves or not. */
export const SigningState = Exact({
  version: Type.Literal('kallio-signing-state-v1'),
  pcrs: PcrValues,
});
export type SigningState = Static<typeof SigningState>;

/** An operator's approval: in this state, signing keys under the operator's key may sign. */
export const SigningApproval = Exact({
  version: Type.Literal('kallio-signing-approval-v1'),
  pcrs: PcrValues,
  /** ECDSA P-256 over SHA-256(PolicyPCR digest || "kallio-signing-v1"): r and s, 32 bytes each. */
  signature: Hex(64),
});
export type SigningApproval = Static<typeof SigningApproval>;
