import { MAX_BUNDLE, parseImagePolicy, type SignedSource, verifyImage } from '@kallio/signature';
import { pemOf } from '@kallio/tlog';
import type { Context } from './context.ts';
import { readBeyond, readBounded, readJson, writeFile } from './files.ts';
import { namedImage } from './images.ts';

/** What `kallio verify` is told beside the image. */
export interface VerifyFlags {
  readonly policy: string;
  readonly keyOut?: string;
  readonly bundle?: string;
  readonly proof?: string;
  readonly evidence?: boolean;
}

/** Judges an image and tells the verdict. What the source is asked `ahead` is on its way while the policy is read. */
export async function verify(
  context: Context,
  image: string,
  flags: VerifyFlags,
  ahead: (source: SignedSource, reference: string) => Promise<SignedSource> = async (source) => source,
): Promise<void> {
  const named = namedImage(image);
  const source = await ahead(await named.open(), named.reference);
  const policy = parseImagePolicy(readJson(flags.policy));
  const verdict = await verifyImage(named.reference, source, policy, new Date(), {
    ...(flags.bundle === undefined ? {} : { bundle: readBeyond(flags.bundle, MAX_BUNDLE) }),
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
