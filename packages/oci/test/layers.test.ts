import { gzipSync } from 'node:zlib';
import { type Digest, digestOf, sha256, toHex, utf8 } from '@kallio/codec';
import { type Header, pack } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import {
  type FileManifest,
  fileManifest,
  fileManifestDigest,
  type ImageContents,
  type ImageSource,
  type LayerLimits,
  MEDIA,
} from '../src/index.ts';

/* Layers made by hand: what a runtime would unpack, and what an attacker would have it unpack. */

type Entry = Partial<Header> & { readonly name: string; readonly content?: string };

const refusal = (code: string) => expect.objectContaining({ code });
const LIMITS: LayerLimits = { entries: 1000, bytes: 64 * 1024 * 1024, ratio: 200 };

async function tarOf(entries: readonly Entry[]): Promise<Uint8Array> {
  const archive = pack();
  for (const { content, ...header } of entries) archive.entry(header, content ?? '');
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return new Uint8Array(Buffer.concat(chunks));
}

/** The file manifest of an image of these layers, base first; `asGiven` are layers as they lie in the registry. */
async function manifestOf(
  layers: readonly (readonly Entry[])[],
  limits: LayerLimits = LIMITS,
): Promise<FileManifest> {
  return manifestOfTars(await Promise.all(layers.map(tarOf)), limits);
}

function manifestOfTars(tars: readonly Uint8Array[], limits = LIMITS): Promise<FileManifest> {
  const blobs = new Map<Digest, Uint8Array>();
  const layers = tars.map((tar) => {
    const bytes = new Uint8Array(gzipSync(tar));
    blobs.set(digestOf(bytes), bytes);
    return { mediaType: `${MEDIA.layer}+gzip`, digest: digestOf(bytes), size: bytes.length };
  });
  const source: ImageSource = {
    manifest: () => Promise.reject(new Error('not asked')),
    blob: () => Promise.reject(new Error('not asked')),
    stream: async ({ digest }) =>
      (async function* () {
        yield blobs.get(digest) ?? new Uint8Array(0);
      })(),
  };
  const claims = { layers: tars.map((tar) => digestOf(tar)) };
  const image = { layers, claims } as unknown as ImageContents;
  return fileManifest(source, image, limits);
}

const paths = ({ files }: FileManifest) => files.map(({ path }) => path);
const file = (name: string, content = name): Entry => ({ name, content });

describe('a file manifest', () => {
  it('has content, mode and owner of every regular file, and nothing of anything else', async () => {
    const manifest = await manifestOf([
      [
        { name: 'bin/', type: 'directory' },
        { name: 'bin/su', mode: 0o104755, uid: 0, gid: 7, content: 'su' },
        { name: 'bin/sh', type: 'symlink', linkname: 'su' },
        { name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3 },
        { name: 'run/pipe', type: 'fifo' },
        { name: './data/reading', mode: 0o600, uid: 1000, gid: 1000, content: '' },
      ],
    ]);
    expect(manifest.files).toEqual([
      { path: '/bin/su', sha256: toHex(sha256(utf8('su'))), mode: 0o4755, uid: 0, gid: 7, size: 2 },
      { path: '/data/reading', sha256: toHex(sha256(utf8(''))), mode: 0o600, uid: 1000, gid: 1000, size: 0 },
    ]);
  });

  it('does not depend on the order of entries, nor on how directories are spelled', async () => {
    const one = await manifestOf([[file('a/x'), file('b'), { name: 'a/', type: 'directory' }]]);
    const two = await manifestOf([
      [{ name: '/a', type: 'directory' }, file('./b', 'b'), file('/a/x', 'a/x')],
    ]);
    expect(fileManifestDigest(two)).toBe(fileManifestDigest(one));
    expect(paths(one)).toEqual(['/a/x', '/b']);
  });

  it('hides what upper layers took away: files, directories, and all of a directory', async () => {
    const base = [file('keep/a'), file('keep/b'), file('gone/x'), file('clear/old'), file('clear/deep/old')];
    expect(
      paths(await manifestOf([base, [file('keep/.wh.b'), file('.wh.gone'), file('clear/.wh..wh..opq')]])),
    ).toEqual(['/keep/a']);
    // A whiteout hides lower layers, never its own: wherever it stands in the archive.
    const upper = [
      file('clear/new'),
      file('clear/.wh..wh..opq'),
      file('keep/b', 'again'),
      file('keep/.wh.b'),
    ];
    expect(paths(await manifestOf([base, upper]))).toEqual(['/clear/new', '/gone/x', '/keep/a', '/keep/b']);
  });

  it('replaces a file by a directory, and a directory by a file, whole', async () => {
    expect(paths(await manifestOf([[file('x')], [{ name: 'x/', type: 'directory' }, file('x/y')]]))).toEqual([
      '/x/y',
    ]);
    expect(paths(await manifestOf([[file('x/y')], [file('x')]]))).toEqual(['/x']);
  });

  it('lists a hard link under each of its names, and keeps it when one is changed above', async () => {
    const link: Entry = { name: 'two', type: 'link', linkname: './one' };
    const linked = await manifestOf([[file('one'), link]]);
    expect(linked.files.map(({ path, sha256 }) => [path, sha256])).toEqual([
      ['/one', toHex(sha256(utf8('one')))],
      ['/two', toHex(sha256(utf8('one')))],
    ]);
    const changed = await manifestOf([[file('one'), link], [file('one', 'new')]]);
    expect(changed.files[1]?.sha256).toBe(linked.files[1]?.sha256);
    expect(changed.files[0]?.sha256).not.toBe(linked.files[0]?.sha256);
  });

  it('refuses a hard link to what is no file there', async () => {
    for (const linkname of ['nothing', '../etc/passwd', 'dir']) {
      const entries: Entry[] = [
        { name: 'dir/', type: 'directory' },
        { name: 'l', type: 'link', linkname },
      ];
      await expect(manifestOf([entries])).rejects.toThrow(refusal('OCI_LAYER'));
    }
  });
});

describe('a hostile layer is refused', () => {
  it.each(['../escape', 'a/../../escape', '/../escape'])('with the name %s', async (name) => {
    await expect(manifestOf([[file(name)]])).rejects.toThrow(refusal('OCI_LAYER_PATH'));
    expect(paths(await manifestOf([[file(name.replaceAll('../', ''))]]))).toHaveLength(1);
  });

  it('with an entry below a symbolic link, which runtimes follow differently', async () => {
    const link: Entry = { name: 'etc', type: 'symlink', linkname: '/' };
    await expect(manifestOf([[link], [file('etc/passwd')]])).rejects.toThrow(refusal('OCI_LAYER_PATH'));
    await expect(
      manifestOf([[{ name: 'etc/', type: 'directory' }], [file('etc/passwd')]]),
    ).resolves.toBeDefined();
  });

  it('with a path longer than any may be, however deep it is nested', async () => {
    const deep = (depth: number) => `${'d/'.repeat(depth)}f`;
    expect(paths(await manifestOf([[file(deep(2000), '')]]))).toHaveLength(1);
    await expect(manifestOf([[file(deep(2100), '')]])).rejects.toThrow(refusal('OCI_LAYER_PATH'));
  });

  it('with more entries than are counted, over all layers together', async () => {
    const many = (count: number, at: string) =>
      Array.from({ length: count }, (_, i) => file(`${at}${i}`, ''));
    await expect(manifestOf([many(600, 'a'), many(600, 'b')])).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
    expect(paths(await manifestOf([many(500, 'a'), many(500, 'b')]))).toHaveLength(1000);
  });

  it('that unpacks to more bytes than are allowed, over all layers together', async () => {
    const noise = (seed: number) => {
      const bytes = Buffer.alloc(1024 * 1024);
      for (let i = 0, x = seed; i < bytes.length; i++) {
        x = (x * 1103515245 + 12345) % 2147483648;
        bytes[i] = x >> 16;
      }
      return bytes.toString('latin1').replaceAll(/[^ -~]/g, '.');
    };
    const layers = [[file('a', noise(1))], [file('b', noise(2))]];
    const tight = { ...LIMITS, bytes: 1536 * 1024 };
    await expect(manifestOf(layers, tight)).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
    expect(paths(await manifestOf(layers))).toHaveLength(2);
  });

  it('that is a bomb: a few kilobytes of it unpack to a great many', async () => {
    const zeros = 'x'.repeat(40 * 1024 * 1024);
    const started = process.memoryUsage().rss;
    await expect(manifestOf([[file('bomb', zeros)]], { ...LIMITS, ratio: 100 })).rejects.toThrow(
      refusal('OCI_LAYER_LIMIT'),
    );
    expect(process.memoryUsage().rss - started).toBeLessThan(512 * 1024 * 1024);
    const wide = { ...LIMITS, ratio: 2000 };
    expect(paths(await manifestOf([[file('bomb', zeros)]], wide))).toEqual(['/bomb']);
  });

  it('that goes on after its last byte, which is not read on', async () => {
    const tar = await tarOf([file('a')]);
    let more = 0;
    const given = (endless: boolean): ImageSource => ({
      manifest: () => Promise.reject(new Error('not asked')),
      blob: () => Promise.reject(new Error('not asked')),
      stream: async () =>
        (async function* () {
          yield tar;
          for (; endless && more < 10_000; more++) yield new Uint8Array(512);
        })(),
    });
    const layers = [{ mediaType: MEDIA.layer, digest: digestOf(tar), size: tar.length }];
    const image = { layers, claims: { layers: [digestOf(tar)] } } as unknown as ImageContents;
    expect(paths(await fileManifest(given(false), image, LIMITS))).toEqual(['/a']);
    await expect(fileManifest(given(true), image, LIMITS)).rejects.toThrow(refusal('OCI_SIZE_MISMATCH'));
    expect(more).toBeLessThan(1000);
  });

  it('that ends in the middle of an entry', async () => {
    const tar = await tarOf([file('a', 'x'.repeat(2000))]);
    await expect(manifestOfTars([tar.slice(0, 1024)])).rejects.toThrow(refusal('OCI_LAYER'));
    expect(paths(await manifestOfTars([tar]))).toEqual(['/a']);
  });
});
