import { INSTANCE_PCR, QUOTED_PCRS } from '@kallio/evidence';
import type { AppraisalPolicy } from './schema.ts';

/**
 * A policy for machines whose firmware, kernel and host measure nothing (swtpm without firmware): every PCR but the
 * instance log's must be as reset left it. It proves the TPM and the instance log, and allows tier C, which says so.
 */
export function bareTpmPolicy(id: string, kind?: 'builder' | 'device'): AppraisalPolicy {
  const zero = '00'.repeat(32);
  const pcrs = QUOTED_PCRS.filter((pcr) => pcr !== INSTANCE_PCR);
  return {
    policy: 'kallio-policy-v1',
    id,
    ...(kind === undefined ? {} : { kind }),
    bank: 'sha256',
    pcrs: [...QUOTED_PCRS],
    reference: { pcrs: Object.fromEntries(pcrs.map((pcr) => [String(pcr), [zero]])) },
    tiers: ['A', 'B', 'C'],
  };
}
