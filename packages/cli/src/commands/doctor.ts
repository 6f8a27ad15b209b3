import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import type { Finding } from '../doctor/finding.ts';
import type { TpmState } from '../doctor/tpm.ts';

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

const NOTHING: Readonly<Record<Exclude<TpmState, 'fit'>, string>> = {
  absent: 'This machine can prove nothing: no TPM was found.',
  silent: 'This machine can prove nothing as it is: its TPM does not answer.',
  unfit: 'This machine can prove nothing as it is: its TPM lacks what is marked ✘.',
};
const TIERS = {
  B: 'This machine can attest at tier B: its TPM has a certificate, and what the machine boots and executes is measured.',
  C: 'This machine can attest at tier C: its TPM has a certificate, but what the machine boots and executes is not all measured.',
};

async function examine(context: Context, address: string | undefined): Promise<void> {
  const [{ examineTpm }, { examineMeasurements }, { examineTools }] = await Promise.all([
    import('../doctor/tpm.ts'),
    import('../doctor/measurements.ts'),
    import('../doctor/tools.ts'),
  ]);
  const {
    state,
    measured,
    findings: ofTpm,
  } = await examineTpm(address, { slow: (text) => context.output.progress(text) });
  const { eventLog, ima, findings: ofLogs } = examineMeasurements();
  const findings: Finding[] = [...ofTpm, ...ofLogs, ...(await examineTools())];
  const canAttest = state === 'fit';
  const tier = measured && eventLog && ima ? 'B' : 'C';
  context.exit = canAttest ? 0 : 1;
  context.output.result(
    { tier: canAttest ? tier : null, canAttest, tpm: state, findings },
    [...findings.map(line), '', state === 'fit' ? `${TIERS[tier]}\n${MAKER}` : NOTHING[state]].join('\n'),
  );
}

const MAKER = 'Whether the TPM’s maker is trusted is for the attestation server to say.';

function line({ ok, optional, what, detail, hint }: Finding): string {
  const mark = ok ? '✔' : optional === true ? '–' : '✘';
  return `${mark} ${what.padEnd(22)} ${detail}${hint === undefined ? '' : `\n${' '.repeat(25)}${hint}`}`;
}
