import { KallioError, type Refusal, type RefusalDetail, refusal } from '@kallio/codec';
import type { EvidenceCode } from '@kallio/evidence';

/** States that one appraisal can come to. STALE is for whoever watches the time: see docs/formats.md. */
export type State = 'VERIFIED' | 'DEGRADED' | 'VIOLATED' | 'UNKNOWN' | 'UNLOGGED';

/** Strength of a platform's evidence: A measured boot and verified root, B measured boot and IMA, C neither. */
export type Tier = 'A' | 'B' | 'C';

/** Categories of the AR4SI trustworthiness vector that are used here (draft-ietf-rats-ar4si, section 2.3.4). */
export type TrustClaim = 'instance-identity' | 'configuration' | 'executables' | 'file-system' | 'hardware';

/** What a refusal does to its subject. */
export interface Consequence {
  readonly state: Exclude<State, 'VERIFIED'>;
  /** The claim of the trustworthiness vector that it touches, and the value it gives it. */
  readonly claim: TrustClaim;
  readonly value: number;
}

/** AR4SI values: 1 unknown elements, 33 not recognised, 36 not available, 96 contraindicated, 99 cryptography failed. */
const unauthentic = { state: 'UNKNOWN', claim: 'instance-identity', value: 99 } as const;
const late = { state: 'UNKNOWN', claim: 'instance-identity', value: 1 } as const;
const rolledBack = { state: 'VIOLATED', claim: 'instance-identity', value: 96 } as const;
const unknownConfiguration = { state: 'UNKNOWN', claim: 'configuration', value: 1 } as const;
const wrongConfiguration = { state: 'VIOLATED', claim: 'configuration', value: 96 } as const;
const wrongExecutables = { state: 'VIOLATED', claim: 'executables', value: 96 } as const;
const unknownExecutables = { state: 'UNKNOWN', claim: 'executables', value: 1 } as const;

/**
 * Every reason why a subject is not VERIFIED. What fails before the quote is known to be authentic gives UNKNOWN, never
 * VIOLATED: otherwise anybody who can send a message could bring a healthy machine down.
 */
const CONSEQUENCES = {
  EVIDENCE_PURPOSE: unauthentic,
  EVIDENCE_ATTESTER: unauthentic,
  EVIDENCE_NONCE: unauthentic,
  EVIDENCE_MALFORMED: unauthentic,
  QUOTE_MALFORMED: unauthentic,
  QUOTE_MAGIC: unauthentic,
  QUOTE_TYPE: unauthentic,
  QUOTE_SIGNATURE: unauthentic,
  QUOTE_BINDING: unauthentic,
  QUOTE_SELECTION: unauthentic,
  PCR_BANK_NOT_QUOTED: unauthentic,
  PCR_NOT_QUOTED: unauthentic,
  PCR_MISSING: unauthentic,
  PCR_DIGEST: unauthentic,

  RESET_COUNT_WENT_BACK: rolledBack,
  RESTART_COUNT_WENT_BACK: rolledBack,
  CLOCK_ROLLED_BACK: rolledBack,
  FIRMWARE_VERSION_CHANGED: rolledBack,
  CLOCK_WENT_BACK: late,
  LOG_POSITION: late,
  LOG_INCOMPLETE: late,
  LOG_WITHOUT_QUOTE: late,

  EVENTLOG_MALFORMED: wrongConfiguration,
  EVENTLOG_TOO_LARGE: unknownConfiguration,
  EVENTLOG_ALGORITHM: wrongConfiguration,
  EVENTLOG_BANK: unknownConfiguration,
  EVENTLOG_LOCALITY: wrongConfiguration,
  EVENTLOG_DATA: wrongConfiguration,
  EVENTLOG_SIGNATURES: wrongConfiguration,
  EVENTLOG_SECURE_BOOT: wrongConfiguration,
  MEASURELOG_MALFORMED: wrongConfiguration,
  MEASURELOG_TOO_LARGE: unknownConfiguration,
  MEASURELOG_BANK: unknownConfiguration,
  EVENTLOG_MISMATCH: wrongConfiguration,
  EVENT_DATA: wrongConfiguration,
  EVENT_SEPARATOR: wrongConfiguration,
  EVENT_UNKNOWN: wrongConfiguration,
  SECURE_BOOT_STATE: wrongConfiguration,
  SECURE_BOOT_KEY: wrongConfiguration,
  SECURE_BOOT_REVOCATION: wrongConfiguration,
  SECURE_BOOT_MISSING: wrongConfiguration,
  PCR_WITHOUT_EVENTS: wrongConfiguration,
  EVENT_LAPSED: wrongConfiguration,
  EVENT_MISSING: wrongConfiguration,
  PCR_NO_REFERENCE: unknownConfiguration,
  PCR_UNEXPLAINED: unknownConfiguration,
  PCR_MISMATCH: wrongConfiguration,
  POLICY_NONE: unknownConfiguration,
  TIER_NOT_ALLOWED: { state: 'UNKNOWN', claim: 'configuration', value: 36 },

  IMA_MALFORMED: wrongExecutables,
  IMA_TOO_LARGE: unknownExecutables,
  IMA_TEMPLATE: unknownExecutables,
  IMA_PCR: wrongExecutables,
  IMA_MISMATCH: wrongExecutables,
  IMA_AHEAD: wrongExecutables,
  IMA_MISSING: unknownExecutables,
  IMA_NO_REFERENCE: unknownExecutables,
  IMA_BOOT_AGGREGATE: wrongExecutables,
  IMA_FILE_UNKNOWN: wrongExecutables,
  IMA_FILE_LAPSED: wrongExecutables,
  IMA_FILE_MISPLACED: wrongExecutables,
  REFERENCE_SET_MISSING: unknownExecutables,
  IMA_VIOLATION: wrongExecutables,

  INSTANCE_LOG_MISMATCH: wrongExecutables,
  INSTANCE_LOG_GAP: wrongExecutables,
  INSTANCE_LOG_INCONSISTENT: wrongExecutables,
  INSTANCE_LOG_TOO_LARGE: unknownExecutables,
  INSTANCE_UNLOGGED: { state: 'UNLOGGED', claim: 'executables', value: 33 },
  PLATFORM_RUNS_UNLOGGED: { state: 'DEGRADED', claim: 'executables', value: 33 },
  INSTANCE_MISSING: { state: 'DEGRADED', claim: 'executables', value: 33 },
  INSTANCE_EXECUTABLE_UNKNOWN: wrongExecutables,
  INSTANCE_FILE_CHANGED: { state: 'VIOLATED', claim: 'file-system', value: 96 },
  IMAGE_REFERENCE_MISSING: { state: 'UNKNOWN', claim: 'file-system', value: 1 },
} as const satisfies Record<string, Consequence>;

/** Codes of an appraisal. */
export type AppraisalCode = keyof typeof CONSEQUENCES;

/** What a code means for the subject it is said of. */
export function consequenceOf(code: AppraisalCode): Consequence {
  return CONSEQUENCES[code];
}

/** A refusal with a code of this package. */
export function because(
  code: AppraisalCode,
  message: string,
  detail?: RefusalDetail,
): Refusal<AppraisalCode> {
  return refusal(code, message, detail);
}

/** What `judge` threw, as a refusal; `other` stands for codes of the layers below. Faults of this program go on up. */
export function refusalOf(cause: unknown, other: AppraisalCode): Refusal<AppraisalCode> {
  if (!(cause instanceof KallioError)) throw cause;
  return refusal(isAppraisalCode(cause.code) ? cause.code : other, cause.message, cause);
}

function isAppraisalCode(code: string): code is AppraisalCode & EvidenceCode {
  return Object.hasOwn(CONSEQUENCES, code);
}

const SEVERITY = ['VERIFIED', 'DEGRADED', 'UNLOGGED', 'UNKNOWN', 'VIOLATED'] as const satisfies State[];

/** The state that all of these come to, which is that of the worst, and the same refusals, the worst first. */
export function verdictOf<Code extends AppraisalCode>(
  refusals: readonly Refusal<Code>[],
): { readonly state: State; readonly refusals: readonly Refusal<Code>[] } {
  const severity = (one: Refusal<Code>) => SEVERITY.indexOf(consequenceOf(one.code).state);
  const sorted = refusals.toSorted((a, b) => severity(b) - severity(a));
  const [worst] = sorted;
  return { state: worst === undefined ? 'VERIFIED' : consequenceOf(worst.code).state, refusals: sorted };
}
