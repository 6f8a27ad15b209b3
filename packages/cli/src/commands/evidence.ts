import type { Endorsement } from '@kallio/appraisal';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import type { Step } from '../evidence/steps.ts';
import type { Verification } from '../evidence/verify.ts';
import { readBounded } from '../files.ts';
import { EXIT } from '../output/exit.ts';
import { cliError } from '../output/output.ts';

interface Flags {
  readonly ak: string;
  readonly message: string;
  readonly signature: string;
  readonly pcrs: string;
  readonly nonce: string;
  readonly eventlog?: string;
  readonly ima?: string;
  readonly policy?: string;
  readonly endorsement: string;
}

const MAX_SMALL = 64 * 1024;
const MAX_EVENT_LOG = 16 * 1024 * 1024;
const MAX_IMA = 64 * 1024 * 1024;

/** `kallio evidence`: evidence in files. */
export function evidenceCommand(context: Context): Command {
  const evidence = command(
    'evidence',
    'judge evidence in files, without a server',
    'kallio evidence verify --help',
  );
  evidence.addCommand(
    command(
      'verify',
      'judge a quote that tpm2-tools made, and the logs beside it, as the server would',
      'kallio evidence verify --ak ak.pub --message q.msg --signature q.sig --pcrs q.pcrs --nonce 00112233… --policy policy.json',
    )
      .requiredOption('--ak <file>', 'the attestation key: TPM2B_PUBLIC, TPMT_PUBLIC or PEM')
      .requiredOption('--message <file>', 'what was signed: tpm2_quote --message')
      .requiredOption('--signature <file>', 'tpm2_quote --signature, with or without --format plain')
      .requiredOption('--pcrs <file>', 'the PCR values: tpm2_quote --pcr, of any --pcrs_format')
      .requiredOption('--nonce <hex>', 'the nonce that the quote must answer: tpm2_quote --qualification')
      .option('--eventlog <file>', 'firmware event log: /sys/kernel/security/tpm0/binary_bios_measurements')
      .option('--ima <file>', 'IMA log of this boot, whole: binary_ or ascii_runtime_measurements')
      .option('--policy <file>', 'the policy; without one the state is UNKNOWN at best, and the exit code 1')
      .option(
        '--endorsement <kind>',
        'who vouches for the AK’s TPM, as you know: maker, hypervisor (the TPM is virtual), or private (nobody)',
        'private',
      )
      .addHelpText(
        'after',
        '\nExit codes: 0 VERIFIED by the policy, 1 anything else that was judged, 2 files that can’t be used.',
      )
      .action((flags: Flags) => verify(context, flags)),
  );
  return evidence;
}

async function verify(context: Context, flags: Flags): Promise<void> {
  const [{ readPolicyFile }, { verifyEvidence }] = await Promise.all([
    import('@kallio/server/policy-file'),
    import('../evidence/verify.ts'),
  ]);
  const endorsement = endorsementOf(flags.endorsement);
  const verification = verifyEvidence({
    ak: readBounded(flags.ak, MAX_SMALL),
    message: readBounded(flags.message, MAX_SMALL),
    signature: readBounded(flags.signature, MAX_SMALL),
    pcrs: readBounded(flags.pcrs, MAX_SMALL),
    nonce: nonceOf(flags.nonce),
    ...(flags.eventlog === undefined ? {} : { eventLog: readBounded(flags.eventlog, MAX_EVENT_LOG) }),
    ...(flags.ima === undefined ? {} : { ima: readBounded(flags.ima, MAX_IMA) }),
    ...(flags.policy === undefined ? {} : readPolicyFile(flags.policy)),
    endorsement,
  });
  // Nothing but VERIFIED is a yes: an authentic quote of a machine that nobody has reference values for is not.
  context.exit = verification.state === 'VERIFIED' ? EXIT.ok : EXIT.refused;
  context.output.result(documentOf(verification), describe(verification));
}

function endorsementOf(kind: string): Endorsement {
  if (kind === 'hypervisor') return { kind, reason: 'said by whoever called the command.' };
  if (kind === 'maker' || kind === 'private') return { kind };
  throw cliError('USAGE', 'The endorsement is maker, hypervisor or private.');
}

/** An empty nonce asks nothing: every old quote without one would answer it. */
function nonceOf(text: string): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2}){1,64}$/.test(text)) {
    throw cliError(
      'CLI_NONCE',
      'The nonce is 1 to 64 bytes in hexadecimal.',
      'It is what tpm2_quote -q was given.',
    );
  }
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function documentOf({ boot, ...rest }: Verification) {
  return {
    ...rest,
    // 64-bit numbers, as text: JSON has no integers of that size.
    ...(boot === undefined
      ? {}
      : { boot: { ...boot, clock: String(boot.clock), firmwareVersion: String(boot.firmwareVersion) } }),
  };
}

const MARKS = { ok: '✔', refused: '✘', skipped: '-' } as const;

function describe({ steps, state, tier, refusals, limits }: Verification): string {
  const [worst] = refusals;
  return [
    ...steps.map(describeStep),
    '',
    `${state}${tier === undefined ? '' : `, tier ${tier}`}${worst === undefined ? '' : `: ${worst.code}`}`,
    ...(worst?.hint === undefined ? [] : [`  ${worst.hint}`]),
    ...limits.map((limit) => `  ${limit}`),
  ].join('\n');
}

function describeStep({ step, status, code, message, pointer }: Step): string {
  const why = code === undefined ? message : `${code}: ${message}`;
  return `${MARKS[status]} ${step.padEnd(10)}  ${why}${pointer === undefined ? '' : ` (${pointer})`}`;
}
