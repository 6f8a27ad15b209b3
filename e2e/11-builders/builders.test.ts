import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openLayout, parseReference, Repository } from '@kallio/oci';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kallio, type Outcome } from '../src/site/kallio.ts';
import { must } from '../src/site/process.ts';
import { Site } from '../src/site/site.ts';

/*
 * Whatever builder leaves an image layout, for whatever machine: buildah itself, and layouts as buildx, kaniko and ko leave
 * them (src/layouts). Each is built in a session, signed, pushed, verified, and copied with what proves it.
 */

const LAYOUTS = fileURLToPath(new URL('../src/layouts/main.ts', import.meta.url));

interface Built {
  readonly digest: string;
  readonly signed: readonly { readonly digest: string; readonly platform?: string }[];
  readonly steps: readonly { readonly name: string; readonly ms: number; readonly kind: string }[];
  readonly sessionMs: number;
  readonly leftOut?: object;
}

let site: Site;
let context: string;
const at = (tag: string) => `${site.registry}/app:${tag}`;
const scratch = () => join(site.dir, 'scratch');
/** A builder that leaves a layout of this shape, in a folder or in an archive. */
const leaves = (shape: string, archive = '') => [
  '--builder',
  `${process.execPath} ${LAYOUTS} ${shape} "$OUT" ${archive}`,
];

async function build(tag: string, ...flags: string[]): Promise<Outcome> {
  const args = ['build', '-t', at(tag), context, '--agent', site.builder.socket, ...flags];
  return kallio(args, { ...site.operator, TMPDIR: scratch() });
}

async function built(tag: string, ...flags: string[]): Promise<Built> {
  const outcome = await build(tag, ...flags);
  expect(outcome.error).toBeUndefined();
  expect(await readdir(scratch())).toEqual([]);
  return outcome.json as Built;
}

/** How a machine of this platform judges an image. */
async function verified(image: string, platform: string): Promise<unknown> {
  const made = JSON.parse(await readFile(site.imagePolicy, 'utf8')) as object;
  const policy = join(site.dir, 'platform-policy.json');
  await writeFile(policy, JSON.stringify({ ...made, platform }));
  return (await site.try('verify', image, '--policy', policy, '--evidence')).json;
}

const manifestOf = async (tag: string) => {
  const { bytes, mediaType } = await new Repository(parseReference(at(tag))).manifest(tag);
  return { mediaType, ...JSON.parse(Buffer.from(bytes).toString()) } as {
    readonly mediaType: string;
    readonly manifests?: readonly { readonly digest: string; readonly platform: object }[];
  };
};

beforeAll(async () => {
  site = await Site.create();
  await Promise.all([site.startRegistry(), site.makeTpms([site.builder]), site.startServer()]);
  await site.startMachine(site.builder, 0);
  await mkdir(scratch());
  context = join(site.dir, 'context');
  await mkdir(context);
  await writeFile(join(context, 'greeting'), 'moi');
  await writeFile(join(context, 'Containerfile'), 'FROM scratch\nCOPY greeting /greeting\n');
});
afterAll(() => site.destroy());

describe('a build host of amd64 with buildah builds, for another platform,', () => {
  it.each([
    ['linux/arm64', 'linux/arm64/v8'],
    ['linux/arm/v7', 'linux/arm'],
  ])('one image for %s, which %s takes, and its own machine does not', async (platform, taker) => {
    const tag = platform.replaceAll('/', '-');
    const { digest, signed } = await built(tag, '--platform', platform);
    expect(signed).toMatchObject([{ digest, platform }]);
    expect((await manifestOf(tag)).manifests).toBeUndefined();
    expect(await verified(at(tag), taker)).toMatchObject({ ok: true, digest });
    expect(await verified(at(tag), 'linux/amd64')).toMatchObject({
      ok: false,
      refusal: { code: 'OCI_PLATFORM' },
    });
  });

  it('an index over variants, and each machine takes its own', async () => {
    const { signed } = await built('variants', '--platform', 'linux/arm/v7,linux/arm64/v8');
    const of = (platform: string) => signed.find((one) => one.platform === platform)?.digest;
    expect(signed.map(({ platform }) => platform).toSorted()).toEqual([
      'linux/arm/v7',
      'linux/arm64',
      undefined,
    ]);
    expect(await verified(at('variants'), 'linux/arm')).toMatchObject({
      ok: true,
      digest: of('linux/arm/v7'),
    });
    expect(await verified(at('variants'), 'linux/arm64')).toMatchObject({
      ok: true,
      digest: of('linux/arm64'),
    });
    expect(await verified(at('variants'), 'linux/arm/v6')).toMatchObject({
      refusal: { code: 'OCI_PLATFORM' },
    });
  });

  it('what a policy that is made for a machine of it takes', async () => {
    const policyFor = async (platform: string) => {
      const file = join(site.dir, 'made-policy.json');
      const flags = ['--builder', site.builder.name, '--tier', 'C', '--platform', platform];
      await writeFile(file, JSON.stringify(await site.run('policy', 'image', ...flags)));
      return (await site.try('verify', at('linux-arm-v7'), '--policy', file)).json;
    };
    expect(await policyFor('linux/arm/v8')).toMatchObject({ ok: true });
    expect(await policyFor('linux/arm/v6')).toMatchObject({ refusal: { code: 'OCI_PLATFORM' } });
    const wrong = await site.try('policy', 'image', '--builder', 'b', '--platform', 'arm');
    expect(wrong).toMatchObject({ exit: 2, error: { code: 'IMAGE_POLICY_INVALID' } });
  });

  it('an index over one image, where that is asked for', async () => {
    const { digest, signed } = await built('index-of-one', '--platform', 'linux/arm64', '--index');
    expect(signed).toMatchObject([{ platform: 'linux/arm64' }, { digest }]);
    expect(await verified(at('index-of-one'), 'linux/arm64')).toMatchObject({
      ok: true,
      digest: signed[0]?.digest,
    });
    const own = await built('own-index', '--index');
    expect(own.signed).toHaveLength(2);
  });

  it.each([
    ['linux/aarch64', 'arm64'],
    ['linux', 'no platform'],
    ['linux/arm64,linux/arm64/v8', 'twice'],
  ])('nothing for "%s"', async (platform, why) => {
    const { error, exit } = await build('never', '--platform', platform);
    expect(exit).toBe(2);
    expect(error).toMatchObject({ code: 'USAGE', message: expect.stringContaining(why) });
  });
});

describe('an image that another builder leaves', () => {
  it.each([
    ['buildx', 'linux/arm64', []],
    ['kaniko', 'linux/amd64', []],
    ['kaniko-reproducible', 'linux/amd64', ['--reproducible']],
    ['ko', 'linux/arm/v7', ['--reproducible']],
  ])('as %s does for %s is signed, and runs there', async (shape, platform, flags) => {
    const { digest, signed } = await built(shape, ...leaves(shape), ...flags);
    expect(signed).toMatchObject([{ digest, platform }]);
    expect(await verified(at(shape), platform)).toMatchObject({ ok: true, digest });
  });

  it('is for what it is told that was asked for', async () => {
    const told = `test "$PLATFORM" = linux/arm/v7 && ${leaves('ko')[1]}`;
    const asked = ['--reproducible', '--platform', 'linux/arm'];
    const { signed } = await built('told', '--builder', told, ...asked);
    expect(signed).toMatchObject([{ platform: 'linux/arm/v7' }]);
  });

  it('in a tar archive is taken like one in a folder', async () => {
    const { digest } = await built('archive', ...leaves('buildx', 'archive'));
    expect(await verified(at('archive'), 'linux/arm64')).toMatchObject({ ok: true, digest });
    const storage = '--root "$TMPDIR/s" --runroot "$TMPDIR/r"';
    const saved = `buildah ${storage} bud --isolation chroot --tag x "$@" && buildah ${storage} push --quiet x "oci-archive:$OUT:x"`;
    await built('archive-of-buildah', '--builder', saved);
    expect(await verified(at('archive-of-buildah'), 'linux/amd64')).toMatchObject({ ok: true });
    const attested = await built('archive-index', ...leaves('buildx-index-attested', 'archive'), ...both);
    expect(attested.signed).toHaveLength(3);
  });

  const both = ['--platform', 'linux/amd64,linux/arm/v7'];
  it.each([
    ['buildx-index', 0, both],
    ['buildx-index-attested', 2, both],
    ['buildx-index-attested-old', 2, both],
    ['ko-index', 0, ['--platform', 'linux/amd64,linux/arm64', '--reproducible']],
  ])(
    'as %s does is an index, with %i attestation manifests that it names',
    async (shape, attested, flags) => {
      const { digest, signed } = await built(shape, ...leaves(shape), ...flags);
      expect(signed).toHaveLength(3);
      const { manifests = [] } = await manifestOf(shape);
      expect(manifests).toHaveLength(2 + attested);
      for (const { platform = '', digest: one } of signed.slice(0, -1)) {
        expect(await verified(at(shape), platform)).toMatchObject({ ok: true, digest: one });
      }
      // All that the index names goes along, and is judged there as here.
      const folder = `oci:${join(site.dir, shape)}`;
      const copied = await site.try('copy', at(shape), folder, '--policy', site.imagePolicy);
      expect(copied).toMatchObject({ exit: 0, json: { ok: true, digest } });
      const layout = await openLayout(join(site.dir, shape));
      for (const one of manifests) expect((await layout.manifest(one.digest)).digest).toBe(one.digest);
      expect(await verified(folder, 'linux/amd64')).toMatchObject({ ok: true });
      // Any other tool reads what was pushed.
      await must('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${at(shape)}`]);
    },
  );

  it('with an index and attestations around it is taken out of them, unless the index is asked for', async () => {
    const alone = await built('alone', ...leaves('buildx-attested'));
    expect(alone.signed).toMatchObject([{ platform: 'linux/amd64', digest: alone.digest }]);
    expect((await manifestOf('alone')).manifests).toBeUndefined();
    // It is said what is not there.
    expect(alone.leftOut).toMatchObject({ index: expect.stringMatching(/^sha256:/), attestations: 1 });
    const whole = await built('whole', ...leaves('buildx-attested'), '--index');
    expect(whole.signed).toHaveLength(2);
    expect(whole.leftOut).toBeUndefined();
    expect((await manifestOf('whole')).manifests).toHaveLength(2);
    expect(await verified(at('whole'), 'linux/amd64')).toMatchObject({ ok: true });
  });
});

describe('what a builder leaves is refused, and pushed nowhere,', () => {
  const index = ['--platform', 'linux/amd64,linux/arm64'];
  it.each<[string, readonly string[], readonly string[], string]>([
    ['an index where one session was opened', leaves('buildx-index'), [], 'CLI_BUILDER'],
    ['images for others than were asked for', leaves('buildx-index'), index, 'CLI_BUILDER'],
    [
      'an image for another than was asked for',
      leaves('buildx'),
      ['--platform', 'linux/arm/v7'],
      'CLI_BUILDER',
    ],
    ['an image where an index was asked for', leaves('buildx'), ['--index'], 'CLI_BUILDER'],
    ['two images side by side', leaves('two-images'), [], 'CLI_BUILDER'],
    ['nothing', ['--builder', 'true'], [], 'CLI_BUILDER'],
    ['no layout', ['--builder', 'mkdir "$OUT"'], [], 'OCI_LAYOUT'],
    ['a file that is no archive', ['--builder', 'echo moi > "$OUT"'], [], 'OCI_LAYOUT'],
    ['an image of 1970', leaves('ko'), [], 'BUILD_IMAGE_TIME'],
    ['an image of no time', leaves('no-time'), [], 'BUILD_IMAGE_TIME'],
    ['an image of no time that can be', leaves('odd-time'), [], 'BUILD_IMAGE_TIME'],
  ])('if that is %s', async (_, builder, flags, code) => {
    const outcome = await build('refused', ...builder, ...flags);
    expect(outcome.error?.code).toBe(code);
    expect(await readdir(scratch())).toEqual([]);
    expect(await verified(at('refused'), 'linux/amd64')).toMatchObject({
      refusal: { code: 'OCI_NOT_FOUND' },
    });
  });
});

describe('an image from before its session', () => {
  it('is refused, and the same one made within it is not', async () => {
    expect((await build('earlier', ...leaves('earlier'))).error?.code).toBe('BUILD_IMAGE_OLDER');
    const { digest } = await built('now', ...leaves('now'));
    expect(await verified(at('now'), 'linux/amd64')).toMatchObject({ ok: true, digest });
  });
});

describe('what a build prints', () => {
  it('counts as the session’s cost all that a build without a session does not do', async () => {
    const slow = ['--builder', `sleep 2.5 && ${process.execPath} ${LAYOUTS} buildx "$OUT"`];
    const { steps, sessionMs } = await built('steps', ...slow, '--attest-every', '1');
    expect(steps.map(({ name, kind }) => `${kind}: ${name}`)).toEqual([
      'session: open the session',
      'builder: build',
      'session: evidence while it was built',
      'session: read what was built',
      'session: close, sign, log',
      'push: push image',
      'session: push signature, file manifest, evidence',
      'push: move the tag',
    ]);
    const counted = steps.filter(({ kind }) => kind === 'session').map(({ ms }) => ms);
    expect(sessionMs).toBe(counted.reduce((sum, ms) => sum + ms, 0));
    expect(Math.min(...counted)).toBeGreaterThan(0);
  });
});
