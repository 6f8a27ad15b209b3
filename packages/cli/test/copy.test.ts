import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOf, utf8 } from '@kallio/codec';
import { MEDIA, openLayout, publishReferrer, writeLayout } from '@kallio/oci';
import { BUNDLE_MEDIA_TYPE, EVIDENCE_TYPE } from '@kallio/signature';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { namedImage } from '../src/images.ts';
import { run } from './support/program.ts';

/* On the real image of docs/examples, from folder to folder. */

const examples = join(import.meta.dirname, '../../../docs/examples');
const image = readFileSync(join(examples, 'manifest.json'));
const digest = digestOf(image);
const subject = { bytes: image, digest, mediaType: MEDIA.manifest };

let dir: string;
const folder = (name: string) => `oci:${join(dir, name)}`;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-copies-'));
  cpSync(join(examples, 'layout'), join(dir, 'from'), { recursive: true });
  const policy = JSON.parse(readFileSync(join(examples, 'image-policy.json'), 'utf8'));
  writeFileSync(join(dir, 'policy.json'), JSON.stringify({ ...policy, platform: 'linux/amd64' }));
});
afterEach(() => rmSync(dir, { recursive: true }));

async function kallio(...args: string[]) {
  const { exit, out, err } = await run(...args, '--json');
  const said = JSON.parse(out === '' ? err : out);
  return { exit, code: said.refusal?.code ?? said.error?.code, said };
}
const policy = () => ['--policy', join(dir, 'policy.json')];
const copy = (to: string, ...flags: string[]) => kallio('copy', folder('from'), folder(to), ...flags);
const verify = (name: string, ...flags: string[]) => kallio('verify', folder(name), ...policy(), ...flags);

/** Puts so many artifacts of this type beside the image, listed before everything that is there. */
async function flood(type: string, count: number) {
  const index = join(dir, 'from/index.json');
  const { manifests, ...rest } = JSON.parse(readFileSync(index, 'utf8'));
  writeFileSync(index, JSON.stringify({ ...rest, manifests: [] }));
  const target = await writeLayout(join(dir, 'from'));
  for (let i = 0; i < count; i++) {
    await publishReferrer(target, subject, { type, bytes: utf8(JSON.stringify({ junk: i })) });
  }
  const junk = JSON.parse(readFileSync(index, 'utf8')).manifests;
  writeFileSync(index, JSON.stringify({ ...rest, manifests: [...junk, ...manifests] }));
}

describe('kallio copy', () => {
  it('takes everything along that proves the image', async () => {
    expect(await copy('to')).toMatchObject({ exit: 0, said: { ok: true, digest, left: 0 } });
    expect(await verify('to', '--evidence')).toMatchObject({ exit: 0 });
  });

  it('takes the signature along that the policy accepted, whatever floods the image', async () => {
    await flood(BUNDLE_MEDIA_TYPE, 70);
    await flood(EVIDENCE_TYPE, 60);
    await flood(EVIDENCE_TYPE, 3);
    const copied = await copy('to', ...policy());
    expect(copied).toMatchObject({ exit: 0, said: { ok: true, digest } });
    expect(copied.said.left).toBeGreaterThan(0);
    expect(await verify('to', '--evidence')).toMatchObject({ exit: 0 });
  });

  it('moves no tag where a flood may hide the signature, and nobody says which it is', async () => {
    await flood(BUNDLE_MEDIA_TYPE, 70);
    const refused = await copy('to');
    expect(refused).toMatchObject({ code: 'OCI_REFERRERS' });
    expect(refused.exit).not.toBe(0);
    await expect((await openLayout(join(dir, 'to'))).manifest('latest')).rejects.toMatchObject({
      code: 'OCI_NOT_FOUND',
    });
  });

  it('copies nothing that the policy refuses', async () => {
    writeFileSync(
      join(dir, 'policy.json'),
      JSON.stringify({
        ...JSON.parse(readFileSync(join(dir, 'policy.json'), 'utf8')),
        platform: 'linux/arm64',
      }),
    );
    expect(await copy('to', ...policy())).toMatchObject({ exit: 1, code: 'OCI_PLATFORM' });
    await expect(openLayout(join(dir, 'to'))).rejects.toMatchObject({ code: 'OCI_LAYOUT' });
  });

  it('puts several images into one folder by their tags, and reads each by its own', async () => {
    for (const tag of ['1', '2']) expect((await copy(`to:${tag}`)).exit).toBe(0);
    // Another image, under the name that one had.
    const other = utf8(
      JSON.stringify({ ...JSON.parse(image.toString()), annotations: { another: 'image' } }),
    );
    await (await writeLayout(join(dir, 'to'))).pushManifest(other, MEDIA.manifest, '2');
    expect(await verify('to:1', '--evidence')).toMatchObject({ exit: 0, said: { digest } });
    expect(await verify('to:2')).toMatchObject({ exit: 1, code: 'IMAGE_UNSIGNED' });
    expect(await verify('to:3')).toMatchObject({ exit: 1, code: 'OCI_NOT_FOUND' });
    expect(await verify(`to@${digest}`)).toMatchObject({ exit: 0 });
    expect(await kallio('copy', folder('to:1'), folder('back:v1'))).toMatchObject({ exit: 0 });
    expect(await verify('back:v1', '--evidence')).toMatchObject({ exit: 0 });
    expect(await copy(`to@${digest}`)).toMatchObject({ exit: 2, code: 'USAGE' });
  });
});

describe('a folder that was not copied whole', () => {
  it.each(['config', 'layers'] as const)('is a refusal where a blob is missing: %s', async (which) => {
    expect(await verify('from')).toMatchObject({ exit: 0 });
    const { config, layers } = JSON.parse(image.toString());
    const gone = which === 'config' ? config : layers[0];
    rmSync(join(dir, 'from/blobs/sha256', gone.digest.slice(7)));
    // Layers are read where no file manifest is there.
    const { manifests } = await openLayout(join(dir, 'from'));
    for (const { artifactType, digest: attached } of manifests) {
      if (!artifactType?.includes('file-manifest')) continue;
      const file = join(dir, 'from/blobs/sha256', attached.slice(7));
      const { layers: blobs } = JSON.parse(readFileSync(file, 'utf8'));
      rmSync(join(dir, 'from/blobs/sha256', blobs[0].digest.slice(7)));
    }
    const verdict = await verify('from');
    expect(verdict).toMatchObject({ exit: 1, code: 'OCI_LAYOUT' });
    expect(verdict.said.steps.at(-1)).toMatchObject({
      step: which === 'config' ? 'image' : 'file-manifest',
      ok: false,
    });
    expect((await copy('to')).code).toBe('OCI_LAYOUT');
  });
});

describe('the name of an image in a folder', () => {
  const named = (text: string) => {
    const { folder, reference } = namedImage(text);
    return [folder, reference];
  };

  it('has a tag after its last colon, where that can be one', () => {
    expect(named('oci:/media/stick/app')).toEqual(['/media/stick/app', 'latest']);
    expect(named('oci:/media/stick/app:1.2')).toEqual(['/media/stick/app', '1.2']);
    expect(named('oci:app:v1')).toEqual(['app', 'v1']);
    expect(named(`oci:app@${digest}`)).toEqual(['app', digest]);
    expect(named(`oci:app:v1@${digest}`)).toEqual(['app', digest]);
    expect(named('oci:/a@b/c')).toEqual(['/a@b/c', 'latest']);
  });

  it('is that of a folder alone, where it ends with a slash or no tag can be so', () => {
    expect(named('oci:/media/stick:1/app')).toEqual(['/media/stick:1/app', 'latest']);
    expect(named('oci:/media/stick:1/')).toEqual(['/media/stick:1/', 'latest']);
    expect(named('oci:/media/app:-x')).toEqual(['/media/app:-x', 'latest']);
  });

  it('is refused where it names no folder, or a digest that is none', () => {
    for (const bad of ['oci:', 'oci::v1', 'oci:app:', 'oci:app::v1', 'oci:app@', `oci:@${digest}`]) {
      expect(() => namedImage(bad), bad).toThrow(expect.objectContaining({ code: 'OCI_REFERENCE' }));
    }
    for (const bad of ['@sha256:', '@sha256:12', '@sha512:12', `@${digest.toUpperCase()}`, `${digest}x`]) {
      expect(() => namedImage(`oci:app@${bad.replace(/^@/, '')}`), bad).toThrow(
        expect.objectContaining({ code: 'CODEC_DIGEST' }),
      );
    }
  });
});
