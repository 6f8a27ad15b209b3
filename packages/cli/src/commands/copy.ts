import { type Digest, isDigest } from '@kallio/codec';
import { childrenOf, copyImage, copyReferrers } from '@kallio/oci';
import { ATTACHED_TYPES, evidenceOf, parseImagePolicy, verifyEveryImage } from '@kallio/signature';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { readJson } from '../files.ts';
import { namedImage } from '../images.ts';
import { cliError } from '../output/output.ts';

/** `kallio copy`: an image with everything that proves it. */
export function copyCommand(context: Context): Command {
  return command(
    'copy',
    'copy an image with its signature, file manifest and evidence: between registries, or to a folder and back',
    'kallio copy registry.example.org/app:1 oci:/media/stick/app --policy image-policy.json',
  )
    .argument('<from>', 'registry/repository:tag, …@sha256:…, oci:FOLDER or oci:FOLDER:TAG')
    .argument('<to>', 'registry/repository:tag, oci:FOLDER or oci:FOLDER:TAG')
    .option('--policy <file>', 'copy only what this image policy accepts, the image of each platform')
    .action((from: string, to: string, flags: { policy?: string }) => copy(context, from, to, flags.policy));
}

async function copy(context: Context, from: string, to: string, policyFile?: string): Promise<void> {
  const [source, target] = [namedImage(from), namedImage(to)];
  if (isDigest(target.reference))
    throw cliError('USAGE', 'A copy is named by a tag; its digest is the image’s.');
  const opened = await source.open();
  const found = await opened.manifest(source.reference);
  let first: ReadonlySet<Digest> | undefined;
  if (policyFile !== undefined) {
    const policy = parseImagePolicy(readJson(policyFile));
    // By the digest found: what is verified is what is copied, wherever the tag moves meanwhile.
    const verified = await verifyEveryImage(found, opened, policy, new Date());
    if ('refusal' in verified) {
      context.exit = 1;
      const { image, refusal } = verified;
      context.output.result(
        { ok: false, image, refusal },
        `REFUSED ${refusal.code}: ${refusal.message}\n  at image ${image}\n  Nothing was copied.`,
      );
      return;
    }
    const evidence = await Promise.all(verified.map((image) => evidenceOf(opened, image)));
    first = new Set([...verified.flatMap(({ restsOn }) => restsOn), ...evidence].filter(isNamed));
  }
  const into = await target.openTarget();
  context.output.progress(`… copy ${found.digest}`);
  // Under its digest first: the tag moves only to an image whose signature is there.
  await copyImage(opened, found, into);
  const subjects = [found, ...(await childrenOf(opened, found))].map(({ digest }) => digest);
  const { copied, left } = await copyReferrers(opened, subjects, ATTACHED_TYPES, into, first);
  await into.pushManifest(found.bytes, found.mediaType, target.reference);
  const more = left === 0 ? '' : `\n  without ${left} more: a flood, of which the policy needs none`;
  context.output.result(
    { ok: true, from, to, digest: found.digest, attached: copied.length, left },
    `copied ${found.digest}\n  with ${copied.length} attached: signatures, file manifests, evidence${more}`,
  );
}

function isNamed(digest: Digest | undefined): digest is Digest {
  return digest !== undefined;
}
