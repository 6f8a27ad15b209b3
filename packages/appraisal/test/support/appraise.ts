import type { EvidenceMessage } from '@kallio/evidence';
import {
  type Appraisal,
  type AppraisalInput,
  appraise,
  bareTpmPolicy,
  type ImageReference,
} from '../../src/index.ts';
import { IMAGE, type Question, SERVER, SHELL, type SoftwareAttester } from './attester.ts';

export const POLICY = bareTpmPolicy('bare-1', 'device');
export const NOW = new Date('2026-11-23T12:00:00Z');

const FILES: ImageReference = {
  files: new Map([
    ['/bin/sh', SHELL],
    ['/bin/server', SERVER],
  ]),
};

/** Appraises with what a verifier knows when nothing is wrong. */
export function judge(
  attester: SoftwareAttester,
  message: EvidenceMessage,
  expected: Question,
  change: Partial<AppraisalInput> = {},
): Appraisal {
  return appraise({
    message,
    expected,
    akPublic: attester.akPublic,
    policy: POLICY,
    images: (digest) => (digest === IMAGE ? FILES : undefined),
    now: NOW,
    ...change,
  });
}

/** The codes of the platform's refusals. */
export function codes(appraisal: Appraisal): string[] {
  return appraisal.platform.refusals.map(({ code }) => code);
}
