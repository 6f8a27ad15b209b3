import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Digest, digestOf, isDigest, parseJson, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  checkRoot,
  copyImage,
  FILE_MANIFEST_TYPE,
  type FileManifest,
  type FoundManifest,
  fileManifest,
  fileManifestBytes,
  fileManifestDigest,
  hostPlatform,
  type ImageContents,
  type ImageSource,
  type Layout,
  MEDIA,
  openLayout,
  parseFileManifest,
  parseManifest,
  publishReferrer,
  Repository,
  referrerBlob,
  walkImage,
  writeLayout,
} from '../src/index.ts';
import { type DockerRegistry, startDockerRegistry } from './support/docker-registry.ts';
import { archive, entry, gnuLong, pax } from './support/tar.ts';

const dir = mkdtempSync(join(tmpdir(), 'kallio-oci-'));
const storage = ['--root', join(dir, 'store'), '--runroot', join(dir, 'run')];

/** A container root mounted from buildah's own storage: an independent unpacking of the same layers. */
function buildah(...args: string[]): string {
  return execFileSync('buildah', [...storage, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    // Of an image without a name it makes one of the path, in which it takes no capital.
    cwd: dir,
  }).trim();
}

let layout: Layout;
let image: ImageContents;
let manifest: FileManifest;
let container: string;
let root: string;
let registry: DockerRegistry;

beforeAll(async () => {
  const context = join(dir, 'context');
  mkdirSync(context);
  writeFileSync(join(context, 'one'), 'first');
  writeFileSync(join(context, 'two'), 'second');
  writeFileSync(
    join(context, 'Containerfile'),
    [
      'FROM scratch',
      'COPY one /opt/app/one',
      'COPY one /opt/old/gone',
      'COPY --chmod=4755 two /opt/app/two',
      'ENV GREETING=moi',
      'USER 1000:1000',
      'EXPOSE 8080',
      'ENTRYPOINT ["/opt/app/two"]',
    ].join('\n'),
  );
  buildah('bud', '--isolation', 'chroot', '--layers', '-t', 'localhost/base', context);
  writeFileSync(join(context, 'Containerfile'), 'FROM localhost/base\nCOPY two /opt/app/one\n');
  buildah('bud', '--isolation', 'chroot', '--layers', '-t', 'localhost/app', context);
  container = buildah('from', 'localhost/app');
  root = buildah('mount', container);
  rmSync(join(root, 'opt/old'), { recursive: true });
  buildah('commit', container, 'localhost/final');
  buildah('push', 'localhost/final', `oci:${join(dir, 'layout')}:final`);
  layout = await openLayout(join(dir, 'layout'));
  image = await walkImage(layout, layout.manifests[0]?.digest ?? '');
  manifest = await fileManifest(layout, image);
  registry = await startDockerRegistry(dir);
});

afterAll(async () => {
  await registry.stop();
  buildah('umount', '--all');
  buildah('rm', '--all');
  rmSync(dir, { recursive: true, force: true });
});

const HOST = { os: 'linux', architecture: hostPlatform().architecture };

/** A layout of one image of these layers. */
async function layoutOf(name: string, layers: readonly Uint8Array[]): Promise<FoundManifest> {
  const target = await writeLayout(join(dir, name));
  const described = layers.map((layer) => ({
    mediaType: MEDIA.layer,
    digest: digestOf(layer),
    size: layer.length,
  }));
  const rootfs = { type: 'layers', diff_ids: described.map(({ digest }) => digest) };
  const config = utf8(JSON.stringify({ ...HOST, config: {}, rootfs }));
  for (const blob of [...layers, config]) await target.pushBlob(blob);
  const document = {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    config: { mediaType: MEDIA.config, digest: digestOf(config), size: config.length },
    layers: described,
  };
  const bytes = utf8(JSON.stringify(document));
  return { bytes, mediaType: MEDIA.manifest, digest: await target.pushManifest(bytes, MEDIA.manifest, 'x') };
}

/** Where buildah unpacked these layers. */
async function rootOf(name: string, ...layers: readonly Uint8Array[]): Promise<string> {
  await layoutOf(name, layers);
  return buildah('mount', buildah('from', `oci:${name}:x`).split('\n').at(-1) ?? '');
}

/** These layers unpacked by buildah, and as the file manifest lists them. */
async function unpacked(name: string, ...layers: readonly Uint8Array[]) {
  const { digest } = await layoutOf(name, layers);
  const source = await openLayout(join(dir, name));
  const made = await fileManifest(source, await walkImage(source, digest));
  const mounted = await rootOf(name, ...layers);
  const found = execFileSync('find', ['.', '-type', 'f', '-printf', '/%P %m %U %G %s\n'], {
    cwd: mounted,
    encoding: 'utf8',
  });
  return {
    manifest: made,
    root: mounted,
    found: found.trim().split('\n').sort(),
    listed: made.files
      .map(({ path, mode, uid, gid, size }) => `${path} ${mode.toString(8)} ${uid} ${gid} ${size}`)
      .sort(),
  };
}

/** The layout, with one of its blobs replaced. */
function tampered(digest: Digest, bytes: Uint8Array): ImageSource {
  return {
    manifest: (reference) => layout.manifest(reference),
    blob: (descriptor, max) => layout.blob(descriptor, max),
    stream: async (descriptor) =>
      descriptor.digest === digest
        ? (async function* () {
            yield bytes;
          })()
        : layout.stream(descriptor),
  };
}

describe('the file manifest of a real image', () => {
  it('is what an independent engine unpacks: same files, same content, same modes', async () => {
    const listed = execFileSync('find', ['.', '-type', 'f', '-printf', '%P %m\n'], {
      cwd: root,
      encoding: 'utf8',
    });
    const found = listed.trim().split('\n').sort();
    expect(manifest.files.map(({ path, mode }) => `${path.slice(1)} ${mode.toString(8)}`).sort()).toEqual(
      found,
    );
    expect(await checkRoot(root, manifest)).toEqual({ changed: [], missing: [], added: [] });
  });

  it('is what it unpacks of layers in every way that archives say things', async () => {
    const base256 = (value: number) =>
      Uint8Array.of(0x80, 0, 0, 0, ...new Uint8Array(Uint32Array.of(value).buffer).reverse());
    const deep = `${'a-directory/'.repeat(20)}file`;
    const base = archive(
      entry({ name: './', type: '5', mode: 0o755 }),
      pax({ uid: '1000660000', gid: '3000000' }),
      entry({ name: 'pax-owner', content: 'x', mode: 0o2755 }),
      entry({ name: 'base-256', raw: { 108: base256(1000660000), 116: base256(7) } }),
      pax({ path: `pax/${deep}`, 'SCHILY.xattr.user.x': 'y' }),
      entry({ content: 'long' }),
      gnuLong('L', `gnu/${deep}`),
      entry({ raw: { 257: 'ustar  \0' }, content: 'long' }),
      entry({ name: 'file', raw: { 345: 'prefix' }, mode: 0o4755 }),
      entry({ name: 'päivä', content: 'day' }),
      entry({ name: 'päivä-2', type: '1', link: './päivä' }),
      entry({ name: 'link', type: '2', link: 'päivä' }),
      entry({ name: 'link-2', type: '1', link: '/link' }),
      entry({ name: 'pipe', type: '6' }),
      pax({ comment: 'of a commit' }, 'g'),
      entry({ name: 'gone' }),
      entry({ name: 'again', content: 'old' }),
      entry({ name: 'clear/old/x' }),
      entry({ name: 'clear/file' }),
      entry({ name: 'x/y' }),
    );
    const upper = archive(
      entry({ name: '.wh.gone' }),
      entry({ name: '.wh.again' }),
      entry({ name: 'again', content: 'new' }),
      entry({ name: 'clear/new' }),
      entry({ name: 'clear/.wh..wh..opq' }),
      entry({ name: 'x', content: 'a file now' }),
    );
    const made = await unpacked('every-way', base, upper);
    expect(made.manifest.files.map(({ path }) => path)).toEqual([
      '/again',
      '/base-256',
      '/clear/new',
      `/gnu/${deep}`,
      '/pax-owner',
      `/pax/${deep}`,
      '/prefix/file',
      '/päivä',
      '/päivä-2',
      '/x',
    ]);
    expect(made.listed).toEqual(made.found);
    expect(await checkRoot(made.root, made.manifest)).toEqual({ changed: [], missing: [], added: [] });
  });

  it('is refused where an engine unpacks other than the archive seems to say', async () => {
    const evil = entry({ name: 'tool', content: 'evil' });
    const good = entry({ name: 'tool', content: 'good' });
    const hidden = archive(evil, new Uint8Array(1024), good);
    await expect(unpacked('hidden', hidden)).rejects.toMatchObject({ code: 'OCI_LAYER' });
    expect(readFileSync(join(await rootOf('hidden', hidden), 'tool'), 'utf8')).toBe('evil');
    const link = entry({ name: 'link', type: '1', link: 'tool', mode: 0o4755 });
    const setId = archive(good, link);
    await expect(unpacked('set-id', setId)).rejects.toMatchObject({ code: 'OCI_LAYER' });
    expect(statSync(join(await rootOf('set-id', setId), 'tool')).mode & 0o7777).toBe(0o4755);
    const honest = await unpacked('honest', archive(good, entry({ name: 'link', type: '1', link: 'tool' })));
    expect(honest.listed).toEqual(honest.found);
  });

  it.each(['zstd', 'zstd:chunked'])('is the same of layers that it compressed as %s', async (format) => {
    const folder = join(dir, format.replace(':', '-'));
    buildah('push', '--compression-format', format, 'localhost/final', `oci:${folder}:final`);
    const pushed = await openLayout(folder);
    const other = await walkImage(pushed, pushed.manifests[0]?.digest ?? '');
    expect(other.layers.map(({ mediaType }) => mediaType)).toEqual(
      image.layers.map(() => `${MEDIA.layer}+zstd`),
    );
    expect(await fileManifest(pushed, other)).toEqual(manifest);
  });

  it('sees whiteouts, upper layers and set-id bits', () => {
    const paths = new Map(manifest.files.map((file) => [file.path, file]));
    expect([...paths.keys()]).toEqual(['/opt/app/one', '/opt/app/two']);
    expect(paths.get('/opt/app/one')?.sha256).toBe(paths.get('/opt/app/two')?.sha256);
    expect(paths.get('/opt/app/two')?.mode).toBe(0o4755);
  });

  it('is the same every time, and survives its own parser', async () => {
    const again = await fileManifest(layout, image);
    expect(fileManifestDigest(again)).toBe(fileManifestDigest(manifest));
    expect(parseFileManifest(fileManifestBytes(manifest))).toEqual(manifest);
  });

  it('carries the configuration that the image runs with', () => {
    expect(image.claims).toMatchObject({
      entrypoint: ['/opt/app/two'],
      user: '1000:1000',
      ports: ['8080/tcp'],
      environment: expect.arrayContaining(['GREETING=moi']),
    });
  });

  it.each([
    ['cut short', (bytes: Uint8Array) => bytes.slice(0, -20), 'OCI_LAYER'],
    [
      'followed by more',
      (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.from('more')]),
      /OCI_(LAYER|SIZE_MISMATCH)/,
    ],
    ['replaced by another', () => Buffer.from('no layer'), 'OCI_LAYER'],
  ])('refuses a layer that is %s', async (_, change, code) => {
    const layer = image.layers[0];
    if (layer === undefined) throw new Error('no layer');
    const bytes = await layout.blob(layer, 1 << 20);
    const bad = fileManifest(tampered(layer.digest, change(bytes)), image);
    await expect(bad).rejects.toMatchObject({ code: expect.stringMatching(code) });
    await expect(fileManifest(tampered(layer.digest, bytes), image)).resolves.toEqual(manifest);
  });

  it('refuses an image over its limits, and takes the same one under them', async () => {
    const tight = { entries: 3, names: 1 << 20, bytes: 1 << 30, ratio: 200 };
    await expect(fileManifest(layout, image, tight)).rejects.toMatchObject({ code: 'OCI_LAYER_LIMIT' });
    await expect(fileManifest(layout, image, { ...tight, entries: 100 })).resolves.toEqual(manifest);
  });
});

describe('a layout', () => {
  it('has a blob by its digest alone, where its file holds that and is not too long', async () => {
    const { digest, size } = image.config.descriptor;
    const file = join(dir, 'layout/blobs/sha256', digest.slice('sha256:'.length));
    await expect(layout.content(digest, size)).resolves.toEqual(image.config.bytes);
    await expect(layout.content(digest, size - 1)).rejects.toMatchObject({ code: 'OCI_TOO_LARGE' });
    await expect(layout.content(digestOf(new Uint8Array(9)), size)).resolves.toBeUndefined();
    writeFileSync(file, image.config.bytes.toReversed());
    await expect(layout.content(digest, size)).rejects.toMatchObject({ code: 'OCI_DIGEST_MISMATCH' });
    writeFileSync(file, image.config.bytes);
    await expect(layout.content(digest, size)).resolves.toEqual(image.config.bytes);
  });
});

describe('a root file system', () => {
  it('is told apart from the image by every kind of change', async () => {
    const path = join(root, 'opt/app/one');
    appendFileSync(path, '!');
    writeFileSync(join(root, 'opt/app/new'), 'x');
    expect(await checkRoot(root, manifest)).toEqual({
      changed: ['/opt/app/one'],
      missing: [],
      added: ['/opt/app/new'],
    });
    writeFileSync(path, 'second');
    rmSync(join(root, 'opt/app/new'));
    expect(await checkRoot(root, manifest)).toEqual({ changed: [], missing: [], added: [] });
    rmSync(path);
    expect((await checkRoot(root, manifest)).missing).toEqual(['/opt/app/one']);
  });
});

describe('a registry without a referrers API', () => {
  it('takes an image and its artifacts, and gives them back', async () => {
    const repository = new Repository({ registry: registry.host, repository: 'team/app' });
    const digest = await copyImage(layout, image.manifest, repository, 'v1');
    expect(digest).toBe(image.manifest.digest);
    const pulled = await walkImage(repository, 'v1');
    expect(pulled.manifest.digest).toBe(digest);
    expect(await fileManifest(repository, pulled)).toEqual(manifest);

    const bytes = fileManifestBytes(manifest);
    await publishReferrer(repository, pulled.manifest, { type: FILE_MANIFEST_TYPE, bytes });
    const referrers = await repository.referrers(digest, FILE_MANIFEST_TYPE);
    expect(referrers).toHaveLength(1);
    const found = await repository.manifest(referrers[0]?.digest ?? '');
    const parsed = parseManifest(found.bytes, found.mediaType);
    if (parsed.kind !== 'manifest') throw new Error('a referrer is a manifest');
    const blob = referrerBlob(parsed, digest, FILE_MANIFEST_TYPE);
    if (blob === undefined) throw new Error('a referrer has its blob');
    expect(await repository.blob(blob, 1 << 20)).toEqual(bytes);
    expect(referrerBlob(parsed, digestOf(new Uint8Array(1)), FILE_MANIFEST_TYPE)).toBeUndefined();
    expect(await repository.referrers(digest, 'application/other')).toEqual([]);
  });

  it('lists what everybody attaches at the same time, and keeps what others wrote into its list', async () => {
    const at = () => new Repository({ registry: registry.host, repository: 'team/crowd' });
    await copyImage(layout, image.manifest, at(), 'v1');
    const TYPE = 'application/x-note';
    const others = { annotations: { 'org.example': 'of others' }, 'org.example.unknown': [1] };
    const tag = image.manifest.digest.replace(':', '-');
    const empty = utf8(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [], ...others }),
    );
    await at().pushManifest(empty, MEDIA.index, tag);
    const writers = ['a', 'b', 'c', 'd', 'e', 'f'];
    const published = await Promise.all(
      writers.map(async (writer) => {
        const to = at();
        const digests: Digest[] = [];
        for (const note of ['1', '2', '3']) {
          const artifact = { type: TYPE, bytes: utf8(`${writer}${note}`) };
          digests.push(await publishReferrer(to, image.manifest, artifact));
        }
        await to.settle();
        return digests;
      }),
    );
    const found = (await at().referrers(image.manifest.digest, TYPE)).map(({ digest }) => digest);
    expect(found.toSorted()).toEqual(published.flat().toSorted());
    const { bytes } = await at().manifest(tag);
    expect(parseJson(bytes)).toMatchObject(others);
  });

  it('says what is not there, and where nobody answers', async () => {
    const there = new Repository({ registry: registry.host, repository: 'team/app' });
    await expect(there.manifest('nothing')).rejects.toMatchObject({ code: 'OCI_NOT_FOUND' });
    const nowhere = new Repository({ registry: '127.0.0.1:1', repository: 'team/app' });
    await expect(nowhere.manifest('v1')).rejects.toMatchObject({ code: 'OCI_UNREACHABLE' });
    expect(readdirSync(dir)).toContain('layout');
    expect(isDigest(image.manifest.digest)).toBe(true);
  });
});
