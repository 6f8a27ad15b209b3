import type { AttesterSummary } from '@kallio/protocol';

export const RESULT = `sha256:${'ab'.repeat(32)}`;

/** A device as the attestation server tells of it: admitted and VERIFIED, unless said otherwise. */
export function device(attester: string, changes: Partial<AttesterSummary> = {}): AttesterSummary {
  return {
    attester,
    kind: 'device',
    admission: 'admitted',
    state: 'VERIFIED',
    tier: 'C',
    ek: '00'.repeat(32),
    ak: '00'.repeat(34),
    enrolledAt: '2026-01-01T00:00:00Z',
    result: RESULT,
    boot: 7,
    reasons: [],
    ...changes,
  };
}
