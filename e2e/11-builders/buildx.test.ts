import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseReference, Repository } from '@kallio/oci';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DockerEngine, dockerEngine } from '../src/peers/docker.ts';
import { kallio } from '../src/site/kallio.ts';
import { Site } from '../src/site/site.ts';

/*
 * docker buildx itself, with the commands of docs/operations.md and a Docker Engine of its own: skipped, by name, where
 * Debian's package can't be fetched, or does not run.
 */

let site: Site;
let engine: DockerEngine;
let context: string;
const scratch = () => join(site.dir, 'scratch');
const at = (tag: string) => `${site.registry}/app:${tag}`;

beforeAll(async () => {
  site = await Site.create();
  const dir = join(site.dir, 'engine');
  await Promise.all([mkdir(dir), mkdir(scratch())]);
  engine = await dockerEngine(dir);
  if (engine.missing === undefined) console.log(`Built by ${engine.name}.`);
  await Promise.all([site.startRegistry(), site.makeTpms([site.builder]), site.startServer()]);
  await site.startMachine(site.builder, 0);
  context = join(site.dir, 'context');
  await mkdir(context);
  await writeFile(join(context, 'greeting'), 'moi');
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY greeting /greeting\n');
});
afterAll(async () => {
  await engine?.stop();
  await site.destroy();
});

async function built(tag: string, output: string, ...flags: string[]) {
  const builder = `docker buildx build --no-cache ${output}`;
  const env = engine.missing === undefined ? engine.env : {};
  const args = ['build', '-t', at(tag), context, '--agent', site.builder.socket, '--builder', builder];
  const outcome = await kallio([...args, ...flags], { ...site.operator, ...env, TMPDIR: scratch() });
  expect(outcome.error).toBeUndefined();
  expect(await readdir(scratch())).toEqual([]);
  return outcome.json as {
    readonly digest: string;
    readonly signed: readonly { readonly digest: string; readonly platform?: string }[];
    readonly leftOut?: object;
  };
}

async function verified(tag: string, platform: string): Promise<unknown> {
  const policy = join(site.dir, 'platform-policy.json');
  const made = JSON.parse(await readFile(site.imagePolicy, 'utf8')) as object;
  await writeFile(policy, JSON.stringify({ ...made, platform }));
  return (await site.try('verify', at(tag), '--policy', policy, '--evidence')).json;
}

async function manifestsOf(tag: string): Promise<readonly unknown[] | undefined> {
  const { bytes } = await new Repository(parseReference(at(tag))).manifest(tag);
  return (JSON.parse(Buffer.from(bytes).toString()) as { manifests?: readonly unknown[] }).manifests;
}

describe('docker buildx', () => {
  const archive = '"$@" -o type=oci,dest="$OUT"';

  it('builds an image in a session, which is signed without what buildx says of it', async ({ skip }) => {
    if (engine.missing !== undefined) skip(engine.missing);
    const { digest, signed, leftOut } = await built('one', `--provenance=true ${archive}`);
    expect(signed).toMatchObject([{ digest, platform: 'linux/amd64' }]);
    expect(leftOut).toMatchObject({ attestations: 1 });
    expect(await verified('one', 'linux/amd64')).toMatchObject({ ok: true, digest });
    expect(await verified('one', 'linux/arm64')).toMatchObject({ refusal: { code: 'OCI_PLATFORM' } });
  });

  it('builds one for another platform, in a folder', async ({ skip }) => {
    if (engine.missing !== undefined) skip(engine.missing);
    const folder = '--provenance=false --platform "$PLATFORM" "$@" -o type=oci,tar=false,dest="$OUT"';
    const { digest, signed } = await built('arm', folder, '--platform', 'linux/arm/v7');
    expect(signed).toMatchObject([{ digest, platform: 'linux/arm/v7' }]);
    expect(await manifestsOf('arm')).toBeUndefined();
    expect(await verified('arm', 'linux/arm')).toMatchObject({ ok: true, digest });
  });

  it('builds an index, whose signature covers what buildx says of its images', async ({ skip }) => {
    if (engine.missing !== undefined) skip(engine.missing);
    const both = `--provenance=true --platform "$PLATFORM" ${archive}`;
    const { signed } = await built('both', both, '--platform', 'linux/amd64,linux/arm/v7');
    expect(signed.map(({ platform }) => platform)).toEqual(['linux/amd64', 'linux/arm/v7', undefined]);
    expect(await manifestsOf('both')).toHaveLength(4);
    for (const { platform = '', digest } of signed.slice(0, -1)) {
      expect(await verified('both', platform)).toMatchObject({ ok: true, digest });
    }
  });
});
