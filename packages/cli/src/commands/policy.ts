import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { policyMergeCommand } from './policy-merge.ts';
import { inForceCommands } from './policy-set.ts';

/** `kallio policy`: policies to begin with, and more values for them. */
export function policyCommand(context: Context): Command {
  const policy = command(
    'policy',
    'make policies, and add to them',
    'kallio policy image --builder build-1 > image-policy.json',
  );
  policy
    .addCommand(
      serverOptions(
        command(
          'image',
          'an image policy that pins this server’s keys and log',
          'kallio policy image --builder build-1 > image-policy.json',
        ),
      )
        .requiredOption('--builder <attester...>', 'build hosts whose images may run')
        .option('--tier <tier...>', 'tiers of build host that suffice', ['A', 'B'])
        .action((flags: ServerOptions & { builder: string[]; tier: string[] }) => image(context, flags)),
    )
    .addCommand(
      command(
        'bare-tpm',
        'an appraisal policy for machines that measure nothing (tier C)',
        'kallio policy bare-tpm --kind device > device-policy.json',
      )
        .requiredOption('--kind <kind>', 'builder or device')
        .action((flags: { kind: string }) => bareTpm(context, flags.kind)),
    );
  policy.addCommand(policyMergeCommand(context));
  for (const one of inForceCommands(context)) policy.addCommand(one);
  return policy;
}

async function image(
  { output }: Context,
  flags: ServerOptions & { builder: string[]; tier: string[] },
): Promise<void> {
  const [{ trustShow }, { parseImagePolicy }] = await Promise.all([
    import('@kallio/protocol'),
    import('@kallio/signature'),
  ]);
  const trust = await withServer(flags, (client) => client.call(trustShow, {}), 'public');
  const policy = parseImagePolicy({
    policy: 'kallio-image-policy-v1',
    issuer: trust.issuer,
    jwks: trust.jwks,
    log: { origin: trust.log.origin, publicKey: trust.log.publicKey },
    builders: flags.builder,
    tiers: flags.tier,
  });
  output.result(policy, JSON.stringify(policy, null, 2));
}

async function bareTpm({ output }: Context, kind: string): Promise<void> {
  const [{ bareTpmPolicy }, { cliError }] = await Promise.all([
    import('@kallio/appraisal'),
    import('../output/output.ts'),
  ]);
  if (kind !== 'builder' && kind !== 'device') throw cliError('USAGE', 'The kind is builder or device.');
  const policy = bareTpmPolicy(`bare-tpm-${kind}`, kind);
  output.result(policy, JSON.stringify(policy, null, 2));
}
