import { KallioError } from '@kallio/codec';

/** Codes of this package. Refusals of the packages it calls pass through with their own codes. */
export type OrchestratorCode =
  // packages
  | 'APPD_INVALID'
  | 'APPD_TAKEN'
  | 'PACKAGE_ARCHIVE'
  | 'PACKAGE_STATE'
  | 'PACKAGE_IN_USE'
  | 'PACKAGE_NOT_ENABLED'
  // life cycle
  | 'INSTANCE_STATE'
  | 'NO_VERIFIED_DEVICE'
  | 'ORDER_UNKNOWN'
  | 'ORDER_UNANSWERED'
  | 'INSTANCE_NOT_VERIFIED'
  // store
  | 'STORE_CORRUPT';

type Details = ConstructorParameters<typeof KallioError>[2];

/** A refusal by the orchestrator. */
export function orchestratorError(code: OrchestratorCode, message: string, details?: Details): KallioError {
  return new KallioError(code, message, details);
}
