import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import type { Finding } from '../doctor/finding.ts';

/** `kallio doctor`: what can this machine prove? */
export function doctorCommand(context: Context): Command {
  return command(
    'doctor',
    'what this machine can prove, and what it lacks',
    'kallio doctor --tpm device:/dev/tpmrm0',
  )
    .option('--tpm <address>', 'device:/dev/tpmrm0, swtpm:unix:/path, swtpm:HOST:PORT or mssim:HOST:PORT')
    .action((flags: { tpm?: string }) => examine(context, flags.tpm));
}

async function examine(context: Context, address: string | undefined): Promise<void> {
  const [{ examineTpm }, { examineMeasurements }, { examineTools }] = await Promise.all([
    import('../doctor/tpm.ts'),
    import('../doctor/measurements.ts'),
    import('../doctor/tools.ts'),
  ]);
  const tpm = await examineTpm(address);
  const measurements = examineMeasurements();
  const tools = await examineTools();
  const findings: Finding[] = [...tpm.findings, ...measurements.findings, ...tools];
  const tier = !tpm.usable ? undefined : measurements.eventLog && measurements.ima ? 'B' : 'C';
  const verdict =
    tier === undefined
      ? 'This machine can prove nothing: it has no TPM that can attest.'
      : `This machine can attest at tier ${tier}${tier === 'C' ? ': its TPM is shown to be real, what the machine runs is not measured' : ''}.`;
  context.exit = tpm.usable ? 0 : 1;
  const lines = findings.map(
    ({ ok, what, detail, hint }) =>
      `${ok ? '✔' : '✘'} ${what.padEnd(22)} ${detail}${ok || hint === undefined ? '' : `\n${' '.repeat(25)}${hint}`}`,
  );
  context.output.result(
    { tier: tier ?? null, canAttest: tpm.usable, findings },
    [...lines, '', verdict].join('\n'),
  );
}
