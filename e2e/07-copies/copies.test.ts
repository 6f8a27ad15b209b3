import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOf } from '@kallio/codec';
import { MEDIA, openLayout, parseReference, Repository } from '@kallio/oci';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { must } from '../src/site/process.ts';
import { Site } from '../src/site/site.ts';

/*
 * An index over two platforms, built and signed in three sessions; copied to a folder with all that proves it, judged
 * there without a network, and copied on to another repository.
 */

interface Record {
  readonly digest: string;
  readonly signed: readonly {
    readonly digest: string;
    readonly platform?: string;
    readonly session: string;
  }[];
}

interface Manifest {
  readonly subject: { readonly digest: string };
  readonly layers: unknown;
}

let site: Site;
let index: Record;
let context: string;
/** The image of the index that this machine takes. */
const forThisMachine = () => index.signed.find(({ platform }) => platform === 'linux/amd64')?.digest;
const at = (repository: string) => `${site.registry}/${repository}`;
const folder = () => join(site.dir, 'stick');

async function build(tag: string, ...flags: string[]) {
  return site.try('build', '-t', at(tag), context, '--agent', site.builder.socket, ...flags);
}

const verify = (image: string, ...flags: string[]) =>
  site.try('verify', image, '--policy', site.imagePolicy, ...flags);

beforeAll(async () => {
  site = await Site.create();
  await Promise.all([site.startRegistry(), site.makeTpms(), site.startServer()]);
  await site.startMachine(site.builder, 0);
  context = join(site.dir, 'context');
  await mkdir(context);
  await writeFile(join(context, 'greeting'), 'moi');
  await writeFile(join(context, 'Containerfile'), 'FROM scratch\nCOPY greeting /greeting\n');
  const outcome = await build('app:1', '--platform', 'linux/amd64,linux/arm64');
  expect(outcome.error).toBeUndefined();
  index = outcome.json as Record;
});
afterAll(() => site.destroy());

describe('a build for several platforms', () => {
  it('signs each image and the index, each in a session of its own', async () => {
    // buildah puts them in the order in which they were done.
    const platforms = index.signed.map(({ platform }) => platform);
    expect(platforms.toSorted()).toEqual(['linux/amd64', 'linux/arm64', undefined]);
    expect(platforms.at(-1)).toBeUndefined();
    expect(new Set(index.signed.map(({ session }) => session)).size).toBe(3);
    expect(index.signed.at(-1)?.digest).toBe(index.digest);
    const verdict = await verify(at('app:1'), '--evidence');
    expect(verdict).toMatchObject({ exit: 0, json: { ok: true } });
    const { steps } = verdict.json as { steps: { step: string }[] };
    expect(steps.map(({ step }) => step)).toEqual(expect.arrayContaining(['index', 'image', 'evidence']));
  });

  it('that has sessions for other platforms than it builds is refused, and leaves nothing behind', async () => {
    const before = await folders();
    // Two images where one session was opened.
    const script = (platforms: string) =>
      [
        `buildah --root $OUT.s --runroot $OUT.r bud --platform ${platforms} --manifest m "$1"`,
        'buildah --root $OUT.s --runroot $OUT.r manifest push --quiet --all m "oci:$OUT:x"',
      ].join(' && ');
    const refused = await build('odd:1', '--builder', script('linux/amd64,linux/arm64'));
    expect(refused.error?.code).toBe('CLI_BUILDER');
    expect((await verify(at('odd:1'))).json).toMatchObject({ refusal: { code: 'OCI_NOT_FOUND' } });
    expect(await folders()).toEqual(before);
    const { sessions } = (await site.run('sessions', 'list')) as { sessions: { state: string }[] };
    expect(sessions[0]).toMatchObject({ state: 'failed' });
    // The honest twin: the same builder, with its platforms named.
    const both = ['--platform', 'linux/amd64,linux/arm64'];
    const twin = await build('odd:1', ...both, '--builder', script('linux/amd64,linux/arm64'));
    expect(twin.error).toBeUndefined();
    expect((await verify(at('odd:1'))).exit).toBe(0);
  });
});

/** Folders that builds make for themselves. */
async function folders(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('kallio-build-'));
}

describe('an index', () => {
  it('that nobody signed is refused, though every image in it is signed', async () => {
    const repository = new Repository(parseReference(at('app:1')));
    const found = await repository.manifest('1');
    const { manifests, ...rest } = JSON.parse(Buffer.from(found.bytes).toString()) as {
      manifests: unknown[];
    };
    const mixed = Buffer.from(JSON.stringify({ ...rest, manifests: manifests.toReversed() }));
    await repository.pushManifest(mixed, MEDIA.index, 'mixed');
    expect((await verify(at('app:mixed'))).json).toMatchObject({
      ok: false,
      refusal: { code: 'IMAGE_UNSIGNED' },
    });
    expect((await verify(at('app:1'))).exit).toBe(0);
  });
});

describe('a copy', () => {
  it('in a folder is judged there by index, images, signatures and evidence, with no registry', async () => {
    const copied = await site.try('copy', at('app:1'), `oci:${folder()}`, '--policy', site.imagePolicy);
    expect(copied).toMatchObject({ exit: 0, json: { ok: true, digest: index.digest, attached: 11 } });
    const verdict = await verify(`oci:${folder()}`, '--evidence');
    expect(verdict).toMatchObject({ exit: 0, json: { ok: true, digest: forThisMachine() } });
    // Any other tool reads it as the layout that it is.
    await must('skopeo', ['inspect', '--raw', `oci:${folder()}:latest`]);
  });

  it('to another repository carries its proof along', async () => {
    expect((await site.try('copy', `oci:${folder()}`, at('other/app:2'))).exit).toBe(0);
    expect((await verify(at('other/app:2'), '--evidence')).exit).toBe(0);
    expect((await verify(`${at('other/app')}@${index.digest}`)).exit).toBe(0);
  });

  it('is refused where the policy refuses the image, and nothing is copied', async () => {
    const policy = JSON.parse(await readFile(site.imagePolicy, 'utf8')) as object;
    const strict = join(site.dir, 'strict.json');
    await writeFile(strict, JSON.stringify({ ...policy, builders: ['build-2'] }));
    const refused = await site.try('copy', at('app:1'), at('refused:1'), '--policy', strict);
    expect(refused).toMatchObject({ exit: 1, json: { ok: false, refusal: { code: 'POLICY_BUILDER' } } });
    expect((await verify(at('refused:1'))).json).toMatchObject({ refusal: { code: 'OCI_NOT_FOUND' } });
  });
});

describe('a copy under a policy', () => {
  it('is refused for any image of an index, also one that this machine would never take', async () => {
    const file = join(folder(), 'index.json');
    const honest = await readFile(file, 'utf8');
    const other = index.signed.find(({ platform }) => platform === 'linux/arm64')?.digest;
    const layout = await openLayout(folder());
    const isBundle = ({ artifactType }: { artifactType?: string }) =>
      artifactType?.includes('sigstore.bundle') === true;
    const bundles = layout.manifests.filter(isBundle).map(({ digest }) => digest);
    const subjects = await Promise.all(
      bundles.map(async (digest) => {
        const { bytes } = await layout.manifest(digest);
        return [digest, (JSON.parse(Buffer.from(bytes).toString()) as Manifest).subject.digest] as const;
      }),
    );
    const taken = new Set(subjects.filter(([, subject]) => subject === other).map(([digest]) => `${digest}`));
    expect(taken.size).toBeGreaterThan(0);
    const document = JSON.parse(honest) as { manifests: { digest: string }[] };
    const manifests = document.manifests.filter(({ digest }) => !taken.has(digest));
    await writeFile(file, JSON.stringify({ ...document, manifests }));
    // For this machine all is well still: the image that it takes, and the index.
    expect((await verify(`oci:${folder()}`)).exit).toBe(0);
    const under = ['--policy', site.imagePolicy];
    const refused = await site.try('copy', `oci:${folder()}`, at('partly:1'), ...under);
    expect(refused).toMatchObject({
      exit: 1,
      json: { ok: false, image: other, refusal: { code: 'IMAGE_UNSIGNED' } },
    });
    expect((await verify(at('partly:1'))).json).toMatchObject({ refusal: { code: 'OCI_NOT_FOUND' } });
    await writeFile(file, honest);
    expect((await site.try('copy', `oci:${folder()}`, at('partly:1'), ...under)).exit).toBe(0);
  });
});

describe('the raw evidence', () => {
  it('of another image is refused in its place', async () => {
    const attached = await openLayout(folder());
    const lists = attached.manifests.filter(({ artifactType }) => artifactType?.includes('kallio.evidence'));
    expect(lists).toHaveLength(3);
    // The evidence manifest of this machine’s image is changed to hold another image’s evidence.
    const blobOf = async (digest: string) => join(folder(), 'blobs/sha256', digest.slice(7));
    const read = async (digest: string) => readFile(await blobOf(digest), 'utf8');
    const found = await Promise.all(
      lists.map(async ({ digest }) => ({ digest, manifest: JSON.parse(await read(digest)) as Manifest })),
    );
    const own = found.find(({ manifest }) => manifest.subject.digest === forThisMachine());
    const other = found.find(({ digest }) => digest !== own?.digest);
    const swapped = Buffer.from(JSON.stringify({ ...own?.manifest, layers: other?.manifest.layers }));
    await writeFile(await blobOf(digestOf(swapped)), swapped);
    const file = join(folder(), 'index.json');
    const honest = await readFile(file, 'utf8');
    const document = JSON.parse(honest) as { manifests: { digest: string; size: number }[] };
    for (const entry of document.manifests) {
      if (entry.digest === own?.digest) {
        entry.digest = digestOf(swapped);
        entry.size = swapped.length;
      }
    }
    await writeFile(file, JSON.stringify(document));
    expect((await verify(`oci:${folder()}`, '--evidence')).json).toMatchObject({
      ok: false,
      refusal: { code: 'BUILD_EVIDENCE_DIGEST' },
    });
    // Without it, the signature alone holds still; and the honest folder holds whole.
    expect((await verify(`oci:${folder()}`)).exit).toBe(0);
    await writeFile(file, honest);
    expect((await verify(`oci:${folder()}`, '--evidence')).exit).toBe(0);
  });
});
