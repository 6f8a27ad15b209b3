import { existsSync } from 'node:fs';
import { type Finding, optionalFinding } from './finding.ts';

/** Does firmware measure, and does the kernel? */
export function examineMeasurements(): { eventLog: boolean; ima: boolean; findings: Finding[] } {
  const eventLog = existsSync('/sys/kernel/security/tpm0/binary_bios_measurements');
  const ima = existsSync('/sys/kernel/security/ima/binary_runtime_measurements');
  return {
    eventLog,
    ima,
    findings: [
      optionalFinding(
        'firmware event log',
        eventLog,
        eventLog ? 'there' : 'none: what was booted can’t be shown',
        'It needs UEFI firmware with a TPM, and securityfs mounted at /sys/kernel/security (as root).',
      ),
      optionalFinding(
        'IMA log',
        ima,
        ima ? 'there' : 'none: what was executed can’t be shown',
        'Boot a kernel with IMA and a policy, for example ima_policy=tcb, and ask as root.',
      ),
    ],
  };
}
