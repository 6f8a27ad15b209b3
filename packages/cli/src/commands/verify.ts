import { MAX_BUNDLE, parseImagePolicy, verifyImage } from '@kallio/signature';
import { pemOf } from '@kallio/tlog';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { readBounded, readJson, writeFile } from '../files.ts';
import { namedImage } from '../images.ts';

/** `kallio verify`: may this image run? */
export function verifyCommand(context: Context): Command {
  return command(
    'verify',
    'judge an image’s signature, step by step',
    'kallio verify registry.example.org/app:1 --policy image-policy.json',
  )
    .argument('<image>', 'registry/repository:tag, registry/repository@sha256:…, or oci:FOLDER')
    .requiredOption('--policy <file>', 'the image policy')
    .option(
      '--key-out <file>',
      'write the verified signing key there (PEM), for clients that know no sessions',
    )
    .option('--bundle <file>', 'judge this bundle instead of what is attached to the image')
    .option(
      '--proof <file>',
      'with --bundle: a witnessed proof of its log entry, as kallio log proof writes it',
    )
    .option('--evidence', 'also verify the raw evidence that is attached to the image')
    .action((image: string, flags: Flags) => verify(context, image, flags));
}

interface Flags {
  readonly policy: string;
  readonly keyOut?: string;
  readonly bundle?: string;
  readonly proof?: string;
  readonly evidence?: boolean;
}

async function verify(context: Context, image: string, flags: Flags): Promise<void> {
  const policy = parseImagePolicy(readJson(flags.policy));
  const named = namedImage(image);
  const verdict = await verifyImage(named.reference, await named.open(), policy, new Date(), {
    ...(flags.bundle === undefined ? {} : { bundle: readBounded(flags.bundle, MAX_BUNDLE) }),
    ...(flags.proof === undefined ? {} : { proof: readBounded(flags.proof, MAX_BUNDLE) }),
    evidence: flags.evidence === true,
  });
  const chain = verdict.steps.map(({ step, ok, detail }) =>
    `${ok ? '✔' : '✘'} ${step.padEnd(13)} ${detail ?? ''}`.trimEnd(),
  );
  if (!verdict.ok) {
    context.exit = 1;
    const { code, message, pointer, hint } = verdict.refusal;
    const lines = [
      ...chain,
      '',
      `REFUSED ${code}: ${message}`,
      ...(pointer === undefined ? [] : [`  at ${pointer}`]),
      ...(hint === undefined ? [] : [`  ${hint}`]),
    ];
    context.output.result(
      { ok: false, image, steps: verdict.steps, refusal: verdict.refusal },
      lines.join('\n'),
    );
    return;
  }
  if (flags.keyOut !== undefined) writeFile(flags.keyOut, pemOf(verdict.signingKeySpki));
  const { steps, claims, signingKey, builder, tier, session, fileManifestDigest, logIndex, integratedTime } =
    verdict;
  context.output.result(
    {
      ok: true,
      image,
      steps,
      digest: claims.subject.digest,
      builder,
      tier,
      session,
      signingKey,
      fileManifest: fileManifestDigest,
      logIndex,
      integratedTime,
    },
    [
      ...chain,
      '',
      `VERIFIED ${claims.subject.digest}`,
      `  built on ${builder} (tier ${tier}) in session ${session}`,
    ].join('\n'),
  );
}
