import { type Digest, digestOf, fromUtf8, parseJson, sameBytes, sha256, toHex, utf8 } from '@kallio/codec';
import {
  configClaims,
  fileManifest,
  fileManifestBytes,
  type ImageSource,
  indexClaims,
  MEDIA,
  parseFileManifest,
  parseManifest,
  parseReference,
  walkImage,
} from '@kallio/oci';
import { pack } from 'tar-stream';
import { Taken, type Target } from '../target.ts';

const json = (document: object) => utf8(JSON.stringify(document));

/** An image's name. */
export function reference(): Target {
  const names = [
    'registry.example:5000/team/app:1.0',
    `localhost/app@${digestOf(utf8('x'))}`,
    '[::1]:5000/a/b-c__d',
  ];
  return { seeds: names.map(utf8), take: (input) => parseReference(fromUtf8(input)) };
}

const described = (mediaType: string, bytes: Uint8Array) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

/** An image manifest, of either kind. */
export function imageManifest(): Target {
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType: 'application/x',
    config: described(MEDIA.config, utf8('{}')),
    layers: [described(`${MEDIA.layer}+gzip`, utf8('layer'))],
    subject: described(MEDIA.manifest, utf8('subject')),
    annotations: { a: 'b' },
  };
  return {
    seeds: [json(manifest)],
    take: (input) => parseManifest(input, MEDIA.manifest),
  };
}

/** An image index, with what is signed of one. */
export function imageIndex(): Target {
  const of = (architecture: string) => ({
    ...described(MEDIA.manifest, utf8(architecture)),
    platform: { os: 'linux', architecture, variant: 'v8' },
  });
  return {
    seeds: [json({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [of('amd64'), of('arm64')] })],
    take: (input) => [parseManifest(input, MEDIA.index), indexClaims(input, MEDIA.index)],
  };
}

const CONFIGURATION = {
  architecture: 'amd64',
  os: 'linux',
  config: {
    Env: ['A=b'],
    Cmd: ['/x'],
    ExposedPorts: { '80/tcp': {} },
    Labels: { a: 'b' },
    User: '1000',
    Volumes: { '/v': {} },
  },
  rootfs: { type: 'layers', diff_ids: [digestOf(utf8('layer'))] },
};

/** An image configuration. */
export function configuration(): Target {
  return { seeds: [json(CONFIGURATION)], take: (input) => configClaims(parseJson(input)) };
}

/** A file manifest: what it is read as can be written, and is read as the same again. */
export function fileManifestFile(): Target {
  const files = ['/bin/a', '/bin/b'].map((path) => ({
    path,
    sha256: toHex(sha256(utf8(path))),
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: path.length,
  }));
  const seed = fileManifestBytes({ version: 'kallio-file-manifest-v1', files });
  return {
    seeds: [seed],
    take(input) {
      const written = fileManifestBytes(parseFileManifest(input));
      const again = fileManifestBytes(parseFileManifest(written));
      if (!sameBytes(written, again))
        throw new Taken('a file manifest that is another when it is read again');
    },
  };
}

/** A layer, whose digests are right whatever is in it: its files have one path each, below the root. */
export async function layer(): Promise<Target> {
  return {
    seeds: await layers(),
    async take(tar) {
      const config = json({ ...CONFIGURATION, rootfs: { type: 'layers', diff_ids: [digestOf(tar)] } });
      const manifest = json({
        schemaVersion: 2,
        mediaType: MEDIA.manifest,
        config: described(MEDIA.config, config),
        layers: [described(MEDIA.layer, tar)],
      });
      const source = holding(manifest, config, tar);
      const image = await walkImage(source, digestOf(manifest), { os: 'linux', architecture: 'amd64' });
      const paths = (await fileManifest(source, image)).files.map(({ path }) => path);
      if (new Set(paths).size !== paths.length) throw new Taken('a path twice');
      const wild = paths.find(
        (path) => !path.startsWith('/') || /(?:^|\/)\.{0,2}(?:\/|$)/.test(path.slice(1)),
      );
      if (wild !== undefined) throw new Taken(`the path ${wild}`);
    },
  };
}

function holding(manifest: Uint8Array, ...blobs: readonly Uint8Array[]): ImageSource {
  const byDigest = new Map<Digest, Uint8Array>(blobs.map((bytes) => [digestOf(bytes), bytes]));
  const blob = (digest: Digest) => byDigest.get(digest) ?? new Uint8Array(0);
  return {
    manifest: async () => ({ bytes: manifest, digest: digestOf(manifest), mediaType: MEDIA.manifest }),
    blob: async ({ digest }) => blob(digest),
    stream: async ({ digest }) =>
      (async function* () {
        yield blob(digest);
      })(),
  };
}

/** Layers as packers write them: long names, links, whiteouts. */
async function layers(): Promise<Uint8Array[]> {
  const long = `opt/${'long/'.repeat(40)}name`;
  const entries = [
    { name: 'bin/a', mode: 0o755 },
    { name: long },
    { name: 'bin/b', type: 'link', linkname: 'bin/a', mode: 0o755 },
    { name: 'bin/c', type: 'symlink', linkname: '../a' },
    { name: 'etc/', type: 'directory' },
    { name: 'etc/.wh.old' },
    { name: 'var/.wh..wh..opq' },
    { name: 'dev/null', type: 'character-device' },
    { name: 'big', uid: 5_000_000, gid: 7, pax: { path: 'big', mtime: '1.5' } },
  ] as const;
  const tar = pack();
  for (const entry of entries) tar.entry({ ...entry }, entry.name === 'bin/a' ? 'content' : '');
  tar.finalize();
  const pieces: Uint8Array[] = [];
  for await (const piece of tar) pieces.push(piece as Uint8Array);
  return [new Uint8Array(Buffer.concat(pieces)), new Uint8Array(1024)];
}
