import { createHash } from 'node:crypto';
import { constants, zstdCompressSync } from 'node:zlib';
import { digestOf, parseDigest, sha256, toHex, utf8 } from '@kallio/codec';
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
import { gzipped, type Layer, LIMITS, manifestOfLayers } from './support/layers.ts';
import { archive, entry, pax } from './support/tar.ts';

/* Layers made by hand: what a runtime would unpack, and what an attacker would have it unpack. */

type Entry = Partial<Header> & { readonly name: string; readonly content?: string };

const refusal = (code: string) => expect.objectContaining({ code });

async function tarOf(entries: readonly Entry[]): Promise<Uint8Array> {
  const archive = pack();
  for (const { content, ...header } of entries) archive.entry(header, content ?? '');
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return new Uint8Array(Buffer.concat(chunks));
}

/** The file manifest of an image of these layers, base first. */
async function manifestOf(
  layers: readonly (readonly Entry[])[],
  limits: LayerLimits = LIMITS,
): Promise<FileManifest> {
  return manifestOfLayers((await Promise.all(layers.map(tarOf))).map(gzipped), limits);
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
    // A whiteout hides lower layers, never its own.
    const upper = [
      file('clear/new'),
      file('clear/.wh..wh..opq'),
      file('keep/.wh.b'),
      file('keep/b', 'again'),
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
    const linkedTo = (linkname: string) => {
      const dir: Entry = { name: 'dir/', type: 'directory' };
      return manifestOf([[dir, file('dir/x'), { name: 'l', type: 'link', linkname }]]);
    };
    for (const linkname of ['nothing', 'dir', 'dir/x/y']) {
      await expect(linkedTo(linkname)).rejects.toThrow(refusal('OCI_LAYER'));
    }
    await expect(linkedTo('../etc/passwd')).rejects.toThrow(refusal('OCI_LAYER_PATH'));
    expect(paths(await linkedTo('/dir/x'))).toEqual(['/dir/x', '/l']);
  });
});

describe('a layer that is compressed with zstd', () => {
  const frame = (bytes: Uint8Array) => new Uint8Array(zstdCompressSync(bytes));
  const join = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
  /** What readers pass over: `zstd:chunked` keeps its table of contents there. */
  const skipped = join(Uint8Array.of(0x5e, 0x2a, 0x4d, 0x18, 5, 0, 0, 0), utf8('table'));
  const withChecksum = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };

  it('is read whole, in however many frames and pieces it comes', async () => {
    const tar = await tarOf([file('a', 'x'.repeat(5000)), file('b'), file('c', '\0'.repeat(200_000))]);
    const half = tar.length / 2;
    const forms: Uint8Array[] = [
      frame(tar),
      join(frame(tar.slice(0, half)), frame(tar.slice(half))),
      join(skipped, frame(tar.slice(0, half)), skipped, skipped, frame(tar.slice(half)), skipped),
      join(...Array.from({ length: tar.length / 512 }, (_, i) => frame(tar.slice(512 * i, 512 * (i + 1))))),
      join(
        frame(new Uint8Array(0)),
        new Uint8Array(zstdCompressSync(tar, withChecksum)),
        frame(new Uint8Array(0)),
      ),
    ];
    const expected = await manifestOfLayers([gzipped(tar)]);
    expect(paths(expected)).toEqual(['/a', '/b', '/c']);
    for (const compressed of forms) {
      for (const piece of [1, 3, 17, 1000, Number.POSITIVE_INFINITY]) {
        expect(await manifestOfLayers([{ tar, suffix: '+zstd', compressed }], LIMITS, piece)).toEqual(
          expected,
        );
      }
    }
  });

  it('is refused where it is cut short, is something else, or goes on as something else', async () => {
    const tar = await tarOf([file('a', 'x'.repeat(5000))]);
    const whole = join(frame(tar.slice(0, 1024)), skipped, frame(tar.slice(1024)));
    const read = (compressed: Uint8Array) => manifestOfLayers([{ tar, suffix: '+zstd', compressed }]);
    expect(paths(await read(whole))).toEqual(['/a']);
    for (const bad of [whole.slice(0, -3), join(whole, utf8('goes on')), utf8('something else'), tar]) {
      await expect(read(bad)).rejects.toThrow(refusal('OCI_LAYER'));
    }
  });
});

describe('a layer of any size', () => {
  it('costs memory for its names alone: not for its contents, nor for what else its headers say', async () => {
    const filler = new Uint8Array(512 * 1024).fill(0x61);
    const one = (i: number) =>
      Buffer.concat([pax({ comment: filler }), entry({ name: `file-${i}`, content: filler.subarray(i) })]);
    const pieces = function* () {
      for (let i = 0; i < 400; i++) yield new Uint8Array(one(i));
      yield new Uint8Array(1024);
    };
    const hash = createHash('sha256');
    let size = 0;
    for (const piece of pieces()) {
      hash.update(piece);
      size += piece.length;
    }
    const digest = parseDigest(`sha256:${hash.digest('hex')}`);
    let most = 0;
    const source: ImageSource = {
      manifest: () => Promise.reject(new Error('not asked')),
      blob: () => Promise.reject(new Error('not asked')),
      stream: async () =>
        (async function* () {
          for (const piece of pieces()) {
            const { heapUsed, external } = process.memoryUsage();
            most = Math.max(most, heapUsed + external);
            yield piece;
          }
        })(),
    };
    const layers = [{ mediaType: MEDIA.layer, digest, size }];
    const image = { layers, claims: { layers: [digest] } } as unknown as ImageContents;
    const started = process.memoryUsage();
    const limits = { ...LIMITS, bytes: 2 ** 30 };
    expect(paths(await fileManifest(source, image, limits))).toHaveLength(400);
    expect(size).toBeGreaterThan(400 * 1024 * 1024);
    expect(most - started.heapUsed - started.external).toBeLessThan(128 * 1024 * 1024);
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
    const wide = { ...LIMITS, entries: 3000 };
    expect(paths(await manifestOf([[file(deep(2000), '')]], wide))).toHaveLength(1);
    await expect(manifestOf([[file(deep(2100), '')]], wide)).rejects.toThrow(refusal('OCI_LAYER_PATH'));
  });

  it('with more entries than are counted, over all layers together', async () => {
    const many = (count: number, at: string) =>
      Array.from({ length: count }, (_, i) => file(`${at}${i}`, ''));
    await expect(manifestOf([many(600, 'a'), many(600, 'b')])).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
    expect(paths(await manifestOf([many(500, 'a'), many(500, 'b')]))).toHaveLength(1000);
  });

  it('with more directories than are counted, that no entry names', async () => {
    const deep = (count: number) =>
      Array.from({ length: 10 }, (_, i) => file(`${i}/${'d/'.repeat(count)}f`, ''));
    expect(paths(await manifestOf([deep(90)]))).toHaveLength(10);
    await expect(manifestOf([deep(110)])).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
  });

  it('with names, or names that links lead to, of more bytes than are kept', async () => {
    const long = (at: number, count: number) =>
      Array.from({ length: count }, (_, i) => file(`${'x'.repeat(200)}/${at + i}`, ''));
    const tight = { ...LIMITS, names: 20_000 };
    expect(paths(await manifestOf([long(100, 45), long(200, 45)], tight))).toHaveLength(90);
    await expect(manifestOf([long(100, 50), long(200, 50)], tight)).rejects.toThrow(
      refusal('OCI_LAYER_LIMIT'),
    );
    const links = (count: number) =>
      Array.from({ length: count }, (_, i) => ({
        name: `${i}`,
        type: 'link' as const,
        linkname: 'x'.repeat(90),
      }));
    const target = file('x'.repeat(90), '');
    expect(paths(await manifestOf([[target, ...links(200)]], tight))).toHaveLength(201);
    await expect(manifestOf([[target, ...links(300)]], tight)).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
  });

  it('with an extended header that is longer than any reader takes', async () => {
    const about = (length: number) => manifestOf([[{ ...file('a'), pax: { comment: 'x'.repeat(length) } }]]);
    expect(paths(await about(1_000_000))).toEqual(['/a']);
    await expect(about(1024 * 1024)).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
  });

  it('with headers about all entries, and no entries', async () => {
    const flood = (count: number) => {
      const one = pax({ comment: 'x' }, 'g');
      return manifestOfLayers([gzipped(archive(...Array.from({ length: count }, () => one)))]);
    };
    expect(paths(await flood(1000))).toEqual([]);
    await expect(flood(1001)).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
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

  it.each([
    ['a bomb', 40 * 1024 * 1024, 100],
    ['no bomb, but of more bytes than are allowed', 65 * 1024 * 1024, 100_000],
  ])('that is compressed with zstd and %s', async (_, length, ratio) => {
    const tar = await tarOf([file('bomb', 'x'.repeat(length))]);
    const layer: Layer = { tar, suffix: '+zstd', compressed: new Uint8Array(zstdCompressSync(tar)) };
    expect(layer.compressed.length).toBeLessThan(10_000);
    const started = process.memoryUsage().rss;
    await expect(manifestOfLayers([layer], { ...LIMITS, ratio })).rejects.toThrow(refusal('OCI_LAYER_LIMIT'));
    expect(process.memoryUsage().rss - started).toBeLessThan(256 * 1024 * 1024);
    const wide = { ...LIMITS, bytes: 2 ** 30, ratio: 100_000 };
    expect(paths(await manifestOfLayers([layer], wide))).toEqual(['/bomb']);
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
    const cut = manifestOfLayers([gzipped(tar.slice(0, 1024))]);
    await expect(cut).rejects.toThrow(refusal('OCI_LAYER'));
    expect(paths(await manifestOfLayers([gzipped(tar)]))).toEqual(['/a']);
  });
});
