import { existsSync } from 'node:fs';
import type { Finding } from './finding.ts';

/** Does firmware measure, and does the kernel? */
export function examineMeasurements(): { eventLog: boolean; ima: boolean; findings: Finding[] } {
  const eventLog = existsSync('/sys/kernel/security/tpm0/binary_bios_measurements');
  const ima = existsSync('/sys/kernel/security/ima/binary_runtime_measurements');
  return {
    eventLog,
    ima,
    findings: [
      {
        what: 'firmware event log',
        ok: eventLog,
        detail: eventLog ? 'there' : 'none: what was booted can’t be shown',
        hint: 'It needs UEFI firmware with a TPM, and securityfs mounted at /sys/kernel/security.',
      },
      {
        what: 'IMA log',
        ok: ima,
        detail: ima ? 'there' : 'none: what was executed can’t be shown',
        hint: 'Boot a kernel with IMA and a policy, for example ima_policy=tcb.',
      },
    ],
  };
}
