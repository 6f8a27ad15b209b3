import { existsSync } from 'node:fs';
import { bareTpmPolicy, policySchema } from '@kallio/appraisal';
import { fromUtf8 } from '@kallio/codec';
import { trustShow } from '@kallio/protocol';
import { imagePolicySchema, parseImagePolicy } from '@kallio/signature';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { readFile, readJson, readSecret, secretInto, writeFile } from '../files.ts';
import { cliError } from '../output/output.ts';
import { policyCheckCommand } from './policy-check.ts';
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
        .option(
          '--witness <key...>',
          'verifier keys of witnesses that must have signed the log’s head; have them from their operators',
          [],
        )
        .option('--quorum <number>', 'how many of the witnesses suffice (default: all)')
        .option(
          '--signing-authority <file...>',
          'public keys (PEM) of operators by whose approvals alone signing keys must open',
          [],
        )
        .option('--platform <platform>', 'os/architecture[/variant] of the machines that it is for')
        .action((flags: ImageFlags) => image(context, flags)),
    )
    .addCommand(
      command(
        'bare-tpm',
        'an appraisal policy for machines that measure nothing (tier C)',
        'kallio policy bare-tpm --kind device > device-policy.json',
      )
        .requiredOption('--kind <kind>', 'builder or device')
        .action((flags: { kind: string }) => bareTpm(context, flags.kind)),
    )
    .addCommand(
      command(
        'signing-authority',
        'make the operator’s key that approves in which states build hosts may sign',
        'kallio policy signing-authority --key operator.key --public operator.pub',
      )
        .requiredOption(
          '--key <file>',
          'where to write the private key (mode 0600); keep it off the build hosts',
        )
        .requiredOption(
          '--public <file>',
          'where to write the public key: for the server and the build hosts',
        )
        .action((flags: { key: string; public: string }) => signingAuthority(context, flags)),
    )
    .addCommand(
      command(
        'authorize-signing',
        'approve a build host’s PCR state: signing keys under this key may sign in it',
        'kallio policy authorize-signing --key operator.key --state state.json > approvals/kernel-6.1.json',
      )
        .requiredOption('--key <file>', 'the operator’s private key')
        .requiredOption(
          '--state <file>',
          'what kallio agent signing-state printed; for an update, its announced values',
        )
        .action((flags: { key: string; state: string }) => authorizeSigning(context, flags)),
    );
  policy.addCommand(policyMergeCommand(context)).addCommand(policyCheckCommand(context));
  for (const one of inForceCommands(context)) policy.addCommand(one);
  policy.addCommand(
    command(
      'schema',
      'the JSON Schema of an appraisal policy, for editors and generators',
      'kallio policy schema > policy.schema.json',
    )
      .option('--image', 'of an image policy')
      .action((flags: { image?: boolean }) => schema(context, flags.image === true)),
  );
  return policy;
}

interface ImageFlags extends ServerOptions {
  readonly builder: string[];
  readonly tier: string[];
  readonly witness: string[];
  readonly quorum?: string;
  readonly signingAuthority: string[];
  readonly platform?: string;
}

async function image({ output }: Context, flags: ImageFlags): Promise<void> {
  const { authorityName } = await import('../signing/authority.ts');
  const signingAuthority = flags.signingAuthority.map((file) => authorityName(fromUtf8(readFile(file))));
  const trust = await withServer(flags, (client) => client.call(trustShow, {}), 'public');
  const policy = parseImagePolicy({
    policy: 'kallio-image-policy-v1',
    issuer: trust.issuer,
    jwks: trust.jwks,
    logs: [
      {
        origin: trust.log.origin,
        publicKey: trust.log.publicKey,
        ...(flags.witness.length === 0 ? {} : { verifierKey: trust.log.verifierKey }),
      },
    ],
    ...(flags.witness.length === 0
      ? {}
      : { witnesses: { quorum: Number(flags.quorum ?? flags.witness.length), keys: flags.witness } }),
    builders: flags.builder,
    tiers: flags.tier,
    ...(signingAuthority.length === 0 ? {} : { require: { signingAuthority } }),
    ...(flags.platform === undefined ? {} : { platform: flags.platform }),
  });
  output.result(policy, JSON.stringify(policy, null, 2));
}

function schema({ output }: Context, ofImage: boolean): void {
  const made = ofImage ? imagePolicySchema() : policySchema();
  output.result(made, JSON.stringify(made, null, 2));
}

function bareTpm({ output }: Context, kind: string): void {
  if (kind !== 'builder' && kind !== 'device') throw cliError('USAGE', 'The kind is builder or device.');
  const policy = bareTpmPolicy(`bare-tpm-${kind}`, kind);
  output.result(policy, JSON.stringify(policy, null, 2));
}

async function signingAuthority(
  { output }: Context,
  flags: { readonly key: string; readonly public: string },
): Promise<void> {
  const { authorityName, makeAuthority } = await import('../signing/authority.ts');
  // Every key that it governs would be lost with it.
  if (existsSync(flags.key))
    throw cliError('CLI_FILE', `${flags.key} is there already; it is not overwritten.`);
  const made = await secretInto(
    flags.key,
    async () => makeAuthority(),
    ({ privatePem }) => privatePem.trimEnd(),
  );
  writeFile(flags.public, made.publicPem);
  const name = authorityName(made.publicPem);
  output.result(
    { key: flags.key, public: flags.public, name },
    `${flags.key}: the private key, for kallio policy authorize-signing
${flags.public}: for the server, the build hosts and kallio policy image
its name in an image policy (require.signingAuthority): ${name}`,
  );
}

async function authorizeSigning(
  { output }: Context,
  flags: { readonly key: string; readonly state: string },
): Promise<void> {
  const { approve } = await import('../signing/authority.ts');
  const approval = approve(readSecret(flags.key), readJson(flags.state));
  output.result(approval, JSON.stringify(approval, null, 2));
}
