import type { ReferenceSet } from '@kallio/appraisal';
import { parseReferenceSet } from '@kallio/appraisal';
import type { Digest, Refusal } from '@kallio/codec';
import { digestOf, isDigest } from '@kallio/codec';
import { attesterShow, resultMaterial, trustShow } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import type { Derived, Material } from '../explain/derive.ts';
import type { Held } from '../explain/held.ts';
import { readFile } from '../files.ts';
import { cliError } from '../output/output.ts';

interface Flags extends ServerOptions {
  readonly policy?: string;
  readonly referenceSet: string[];
}

/** A refusal with what its pointer points to. */
type Shown = Refusal & { readonly shows: readonly string[] };

/** `kallio explain`: from the verdict to the bytes. */
export function explainCommand(context: Context): Command {
  return serverOptions(
    command(
      'explain',
      'walk from a verdict to the bytes, and make the result again from them',
      'kallio explain sha256:8f3c…   or   kallio explain cabinet-7   or   kallio explain IMAGE --policy FILE',
    ),
  )
    .argument(
      '<result>',
      'digest of a result; name of an attester, for its last one; or, with --policy, an image',
    )
    .option('--policy <file>', 'an image policy: explain how it judges this image (no server is asked)')
    .option('--reference-set <file...>', 'reference-set files that the policy names', [])
    .addHelpText(
      'after',
      '\nExit codes: 0 the result came out the same here, or the image may run; 1 not so.',
    )
    .action(async (subject: string, flags: Flags) => {
      if (flags.policy === undefined) return explain(context, subject, flags);
      const { explainImage } = await import('../explain/image.ts');
      return explainImage(context, subject, flags.policy);
    });
}

async function explain(context: Context, subject: string, flags: Flags): Promise<void> {
  const [{ derive }, { checks }, { shownAt }] = await Promise.all([
    import('../explain/derive.ts'),
    import('../explain/held.ts'),
    import('../explain/pointer.ts'),
  ]);
  const sets = await referenceSets(flags.referenceSet);
  const { result, material, trust } = await withServer(flags, async (client) => {
    const digest = isDigest(subject)
      ? subject
      : (await client.call(attesterShow, { params: { attester: subject } })).result;
    if (digest === undefined || !isDigest(digest))
      throw cliError('EXPLAIN_NO_RESULT', `${subject} has no result yet.`);
    return {
      result: digest,
      material: await client.call(resultMaterial, { params: { digest } }),
      trust: await client.call(trustShow, {}),
    };
  });
  const derived = await derive(material, trust, sets);
  const show = (refusal: Refusal): Shown => ({
    ...refusal,
    shows: refusal.pointer === undefined ? [] : shownAt(refusal.pointer, derived, material.eventLog),
  });
  const { appraisal, differences } = derived;
  const platform = appraisal.platform.refusals.map(show);
  const instances = [...appraisal.instances].map(([name, one]) => ({
    name,
    state: one.state,
    container: one.container,
    refusals: one.refusals.map(show),
  }));
  const held = checks(derived);
  const same = differences.length === 0;
  context.exit = same ? 0 : 1;
  context.output.result(
    {
      result,
      attester: derived.claims.attester,
      issuer: derived.claims.issuer,
      issuedAt: derived.claims.issuedAt.toISOString(),
      rederived: same ? 'same' : 'different',
      differences,
      platform: {
        state: appraisal.platform.state,
        tier: appraisal.platform.tier,
        refusals: platform,
        limits: appraisal.platform.limits,
      },
      instances,
      checks: held,
      evidence: material.record.evidence,
      policy: { id: derived.policy.id, digest: derived.basis.policy },
      previous: derived.basis.previous,
      boot: appraisal.boot?.resetCount,
    },
    account(result, material, derived, { platform, instances, held }),
  );
}

/** The account for a person. */
function account(
  result: Digest,
  material: Material,
  { claims, appraisal, differences, basis, policy }: Derived,
  parts: {
    readonly platform: readonly Shown[];
    readonly instances: readonly {
      readonly name: string;
      readonly state: string;
      readonly refusals: readonly Shown[];
    }[];
    readonly held: readonly Held[];
  },
): string {
  const { platform, boot } = appraisal;
  const tier = platform.tier === undefined ? '' : `, tier ${platform.tier}`;
  return [
    `${claims.attester}: ${platform.state}${tier}`,
    `  result ${result}`,
    `  signed by ${claims.issuer} at ${claims.issuedAt.toISOString()}: the signature holds`,
    differences.length === 0
      ? '  judged again here, from the same bytes: the same claims, byte for byte'
      : `  judged again here, from the same bytes: DIFFERENT at ${differences.join(', ')}`,
    ...(parts.platform.length === 0 ? [] : ['', 'Why it is not VERIFIED', ...parts.platform.flatMap(reason)]),
    ...parts.instances.flatMap((one) => [
      '',
      `Instance ${one.name}: ${one.state}`,
      ...one.refusals.flatMap(reason),
    ]),
    '',
    'What was checked',
    ...parts.held.map(({ check, held }) => `  ${held ? '✔' : '✘'} ${check}`),
    ...(platform.limits.length === 0
      ? []
      : ['', 'What this evidence can’t show', ...platform.limits.map((l) => `  ${l}`)]),
    '',
    'What it rests on',
    `  evidence  ${material.record.evidence}`,
    `  policy    ${policy.id}, ${basis.policy}`,
    `  before    ${basis.previous ?? 'nothing was kept'}`,
    ...(boot === undefined
      ? []
      : [`  boot      ${boot.resetCount}.${boot.restartCount}, TPM clock ${boot.clock} ms`]),
  ].join('\n');
}

function reason({ code, message, pointer, hint, shows }: Shown): string[] {
  return [
    `  ✘ ${code}: ${message}`,
    ...(pointer === undefined ? [] : [`      at ${pointer}`]),
    ...shows.map((line) => `        ${line}`),
    ...(hint === undefined ? [] : [`      ${hint}`]),
  ];
}

async function referenceSets(files: readonly string[]): Promise<ReadonlyMap<Digest, ReferenceSet>> {
  return new Map(
    files.map((file) => {
      const bytes = readFile(file);
      return [digestOf(bytes), parseReferenceSet(bytes)];
    }),
  );
}
