import { existsSync } from 'node:fs';
import { decodeShape, isDigest, parseJson } from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { AttesterMeasurements, attesterMeasurements, resultMeasurements } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { readBounded } from '../files.ts';
import { EXIT } from '../output/exit.ts';
import { type CliCode, cliError } from '../output/output.ts';
import type { Difference } from '../reference/difference.ts';
import type { Judgeable } from '../reference/judged.ts';

interface Flags extends ServerOptions {
  readonly paths?: string[];
  readonly ak?: string;
}

const MAX_EVIDENCE = 128 * 1024 * 1024;
const MAX_AK = 64 * 1024;
const MAX_LISTING = 256 * 1024 * 1024;

/** `kallio policy check`: what would this policy say? */
export function policyCheckCommand(context: Context): Command {
  return serverOptions(
    command(
      'check',
      'what a policy would say of evidence, and where they differ; without evidence, what it leaves unknown',
      'kallio policy check device-2.json cabinet-7 --paths root.sha256',
    ),
  )
    .argument('<policy>', 'the policy, with the folder sets beside it')
    .argument(
      '[evidence]',
      'an attester, the digest of a result, a file of kallio reference learn --evidence, or an evidence message',
    )
    .option(
      '--paths <file...>',
      'digests by path (kallio reference --paths, sha256sum): to say which was expected',
    )
    .option(
      '--ak <file>',
      'of an evidence message: the AK that must have signed it (TPM2B_PUBLIC, TPMT_PUBLIC, PEM)',
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 VERIFIED (or a policy that can be used), 1 anything else, 2 unusable input.',
    )
    .action((policy: string, evidence: string | undefined, flags: Flags) =>
      check(context, policy, evidence, flags),
    );
}

async function check(context: Context, path: string, from: string | undefined, flags: Flags): Promise<void> {
  const [{ readPolicyFile }, { lintPolicy }] = await Promise.all([
    import('@kallio/server/policy-file'),
    import('../reference/lint.ts'),
  ]);
  const { policy, sets } = readPolicyFile(path);
  const notes = lintPolicy(policy);
  if (from === undefined) {
    const lines = [`${policy.id} can be used.`, ...notes.map((note) => `  ${note}`)];
    context.output.result({ policy: policy.id, notes }, lines.join('\n'));
    return;
  }
  const [{ judgeMeasurements }, { differencesOf, parseListing }] = await Promise.all([
    import('../reference/judged.ts'),
    import('../reference/difference.ts'),
  ]);
  const measurements = await measurementsFrom(from, flags);
  const listed = new Map(
    (flags.paths ?? []).flatMap((file) => [
      ...parseListing(Buffer.from(readBounded(file, MAX_LISTING)).toString('utf8')),
    ]),
  );
  const { authentic, platform } = judgeMeasurements(measurements, policy, sets);
  const differences = authentic ? differencesOf(platform.refusals, measurements, policy, listed) : [];
  context.exit = platform.state === 'VERIFIED' ? EXIT.ok : EXIT.refused;
  const { state, tier, refusals, limits } = platform;
  context.output.result(
    {
      policy: policy.id,
      attester: measurements.attester,
      ...(measurements.result === undefined ? {} : { result: measurements.result }),
      authentic,
      state,
      ...(tier === undefined ? {} : { tier }),
      refusals,
      differences,
      limits,
      notes,
    },
    [
      ...(authentic
        ? differences.map(describeDifference)
        : refusals.map(({ code, message }) => `✘ ${code}: ${message}`)),
      `${measurements.attester} by ${policy.id}: ${state}${tier === undefined ? '' : `, tier ${tier}`}`,
      ...limits.map((limit) => `  ${limit}`),
    ].join('\n'),
  );
}

/** Evidence with its logs: from a file, or from the server. */
async function measurementsFrom(
  from: string,
  flags: Flags,
): Promise<Judgeable & { readonly result?: string }> {
  if (existsSync(from)) return fromFile(from, flags.ak);
  return withServer(flags, (client) =>
    isDigest(from)
      ? client.call(resultMeasurements, { params: { digest: from } })
      : client.call(attesterMeasurements, { params: { attester: from } }),
  );
}

async function fromFile(path: string, ak: string | undefined) {
  const json = parseJson(readBounded(path, MAX_EVIDENCE), { maxBytes: MAX_EVIDENCE });
  const code: CliCode = 'CLI_EVIDENCE';
  const isMessage = typeof json === 'object' && json !== null && 'version' in json;
  if (!isMessage) return decodeShape(AttesterMeasurements, json, code, `The file ${path}`);
  const message = decodeShape(EvidenceMessage, json, code, `The file ${path}`);
  // Without the key anybody could have written the message.
  if (ak === undefined) throw cliError('USAGE', 'Whose evidence is it? Give --ak FILE.');
  const [{ readAk }, { measurementsOf }] = await Promise.all([
    import('../tpm2-tools/ak.ts'),
    import('../reference/judged.ts'),
  ]);
  return measurementsOf(message, readAk(readBounded(ak, MAX_AK)).publicArea);
}

function describeDifference({ code, what, found, expected }: Difference): string {
  return [
    `✘ ${code}  ${what}`,
    `    found     ${found}`,
    ...(expected.length === 0
      ? ['    expected  nothing is known for it']
      : expected.map((one, i) => `    ${i === 0 ? 'expected ' : '      or '} ${one}`)),
  ].join('\n');
}
