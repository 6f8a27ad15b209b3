import { canonicalBytes, concat, utf8 } from '@kallio/codec';
import type { AttesterKind } from './enrolment.ts';

/** What both sides of an enrolment know, and what the proof is made over. */
export interface EnrolmentTranscript {
  readonly attester: string;
  readonly kind: AttesterKind;
  readonly challenge: string;
  /** SHA-256 of the EK's SubjectPublicKeyInfo, hexadecimal. */
  readonly ek: string;
  /** Name of the AK, hexadecimal. */
  readonly ak: string;
}

/**
 * The bytes under the proof's MAC. The secret alone would show that *some* holder of the EK answered; over the
 * transcript the answer holds for this id, this AK and this challenge only.
 */
export function enrolmentTranscript(transcript: EnrolmentTranscript): Uint8Array {
  return concat(utf8('kallio-enrolment-v1'), new Uint8Array(1), canonicalBytes({ ...transcript }));
}
