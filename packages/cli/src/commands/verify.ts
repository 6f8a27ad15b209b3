import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { readJson } from '../files.ts';

/** `kallio verify`: may this image run? */
export function verifyCommand(context: Context): Command {
  return command(
    'verify',
    'judge an image’s signature, step by step',
    'kallio verify registry.example.org/app:1 --policy image-policy.json',
  )
    .argument('<image>', 'registry/repository:tag or registry/repository@sha256:…')
    .requiredOption('--policy <file>', 'the image policy')
    .action((image: string, flags: { policy: string }) => verify(context, image, flags.policy));
}

async function verify(context: Context, image: string, policyFile: string): Promise<void> {
  const [{ parseReference, Repository }, { parseImagePolicy, verifyImage }] = await Promise.all([
    import('@kallio/oci'),
    import('@kallio/signature'),
  ]);
  const reference = parseReference(image);
  const policy = parseImagePolicy(readJson(policyFile));
  const verdict = await verifyImage(
    reference.digest ?? reference.tag ?? 'latest',
    new Repository(reference),
    policy,
    new Date(),
  );
  const chain = verdict.steps.map(({ step, ok, detail }) =>
    `${ok ? '✔' : '✘'} ${step.padEnd(13)} ${detail ?? ''}`.trimEnd(),
  );
  if (!verdict.ok) {
    context.exit = 1;
    const { code, message, hint } = verdict.refusal;
    const lines = [...chain, '', `REFUSED ${code}: ${message}`, ...(hint === undefined ? [] : [`  ${hint}`])];
    context.output.result(
      { ok: false, image, steps: verdict.steps, refusal: verdict.refusal },
      lines.join('\n'),
    );
    return;
  }
  const { steps, claims, builder, tier, session, fileManifestDigest, logIndex, integratedTime } = verdict;
  context.output.result(
    {
      ok: true,
      image,
      steps,
      digest: claims.subject.digest,
      builder,
      tier,
      session,
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
