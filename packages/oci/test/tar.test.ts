import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkRoot, type FileManifest } from '../src/index.ts';
import { gzipped, LIMITS, manifestOfLayers } from './support/layers.ts';
import { archive, entry, gnuLong, type Header, pax, record } from './support/tar.ts';

/* Archives that readers read differently, each beside the one that all read alike. What Go's archive/tar makes of them was
   tried with buildah: runtimes unpack what it reads. */

const refusal = (code: string) => expect.objectContaining({ code });
const read = (...parts: readonly Uint8Array[]) => manifestOfLayers([gzipped(archive(...parts))]);
const paths = ({ files }: FileManifest) => files.map(({ path }) => path);
const refused = (code: string, ...parts: readonly Uint8Array[]) =>
  expect(read(...parts)).rejects.toThrow(refusal(code));
const base256 = (value: number, length: number) => {
  const bytes = new Uint8Array(length);
  bytes[0] = 0x80;
  for (let at = length - 1, rest = value; at > 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256;
  return bytes;
};

describe('the owner of a file', () => {
  const ownersOf = async (...parts: readonly Uint8Array[]) =>
    (await read(...parts)).files.map(({ uid, gid }) => [uid, gid]);

  it('is the one in an extended header, where no header has room for it', async () => {
    // Go writes every number past 2,097,151 so, and leaves zeros in the header.
    const owner = pax({ uid: '1000660000', gid: '3000000' });
    expect(await ownersOf(owner, entry({ name: 'a' }), entry({ name: 'b', uid: 7, gid: 8 }))).toEqual([
      [1000660000, 3000000],
      [7, 8],
    ]);
    const base = { 108: base256(1000660000, 8), 116: base256(3000000, 8) };
    expect(await ownersOf(entry({ raw: base }))).toEqual([[1000660000, 3000000]]);
    // An empty value takes nothing away (POSIX).
    expect(await ownersOf(pax({ uid: '' }), entry({ uid: 7 }))).toEqual([[7, 0]]);
  });

  it('is refused where it is none', async () => {
    for (const uid of ['-1', '+1', '1e3', 'NaN', '0x10', ' 1', '1.0', '9'.repeat(17), '9007199254740993']) {
      await refused('OCI_LAYER', pax({ uid }), entry({}));
      await refused('OCI_LAYER', pax({ gid: uid }), entry({}));
    }
    // 2^32 - 1 is what nobody is, and to a kernel what leaves an owner as it is.
    expect(await ownersOf(pax({ uid: '4294967294' }), entry({}))).toEqual([[4294967294, 0]]);
    await refused('OCI_LAYER', pax({ uid: '4294967295' }), entry({}));
    const negative = new Uint8Array(8).fill(0xff);
    await refused('OCI_LAYER', entry({ raw: { 108: negative } }));
    for (const number of ['12x\0', '1 2\0', '-1\0', '9\0']) {
      await refused('OCI_LAYER', entry({ raw: { 108: '\0\0\0\0\0\0\0\0', 109: number } }));
    }
  });
});

describe('a file is not left out', () => {
  it('because it has holes', async () => {
    const file = entry({ name: 'a', content: 'x' });
    expect(paths(await read(pax({ 'SCHILY.xattr.user.a': 'b' }), file))).toEqual(['/a']);
    await refused('OCI_LAYER', entry({ name: 'a', type: 'S', content: 'x' }));
    await refused('OCI_LAYER', pax({ 'GNU.sparse.major': '1', 'GNU.sparse.name': 'b' }), file);
  });

  it.each(['7', 'S', 'M', 'V', 'D', 'N', 'A', 'X', '\x01', '\xff'])(
    'because it is of the kind %j',
    async (type) => {
      await refused('OCI_LAYER', entry({ name: 'a', type, content: 'x' }));
      expect(paths(await read(entry({ name: 'a', type: '\0', content: 'x' })))).toEqual(['/a']);
    },
  );

  it('because its name is that of another, when both are no text', async () => {
    const [one, two] = [Uint8Array.of(0x61, 0xff), Uint8Array.of(0x61, 0xfe)];
    await refused('OCI_LAYER_PATH', entry({ name: one }), entry({ name: two }));
    await refused('OCI_LAYER_PATH', pax({ path: one }), entry({}));
    await refused('OCI_LAYER_PATH', gnuLong('L', one), entry({}));
    await refused('OCI_LAYER_PATH', entry({ raw: { 345: one } }));
    await refused('OCI_LAYER_PATH', entry({ name: 'a' }), entry({ name: 'b', type: '1', link: one }));
    // A byte order mark is a character of a name like another.
    expect(paths(await read(entry({ name: 'ä' }), entry({ name: 'a' }), entry({ name: '\ufeffa' })))).toEqual(
      ['/a', '/ä', '/\ufeffa'],
    );
  });

  it('and stands in the order of its bytes, whatever planes its characters are of', async () => {
    const names = ['\u{1f4a1}', '\ufffd', '\ue000', 'z', '\u{10ffff}'];
    expect(paths(await read(...names.map((name) => entry({ name }))))).toEqual(
      ['z', '\ue000', '\ufffd', '\u{1f4a1}', '\u{10ffff}'].map((name) => `/${name}`),
    );
  });
});

describe('an archive is refused', () => {
  const file = (header: Header = {}) => entry({ name: 'a', content: 'evil', ...header });
  const other = entry({ name: 'b', content: 'good' });

  it('with entries after its end, which runtimes never see', async () => {
    expect(paths(await read(file(), other))).toEqual(['/a', '/b']);
    await refused('OCI_LAYER', file(), new Uint8Array(1024), other);
    await refused('OCI_LAYER', file(), new Uint8Array(512), other);
    await refused('OCI_LAYER', file(), new Uint8Array(1024), Buffer.from('x'.padEnd(512)));
    // Zeros up to a full record, or no end at all, are what tools write.
    expect(paths(await read(file(), new Uint8Array(10 * 1024)))).toEqual(['/a']);
    expect(paths(await manifestOfLayers([gzipped(file())]))).toEqual(['/a']);
  });

  it('with a size where nothing follows, so that some read content and others a header', async () => {
    for (const type of ['1', '2', '3', '4', '5', '6']) {
      const header = { name: 'x', type, link: 'a' };
      const hiding = entry({ ...header, content: entry({ name: 'hidden' }) });
      await refused('OCI_LAYER', file(), hiding);
      expect(paths(await read(file(), entry(header)))).toContain('/a');
    }
  });

  it('with a file that is named like a directory', async () => {
    await refused('OCI_LAYER', file({ name: 'a/' }));
    await refused('OCI_LAYER', file({ name: 'a/', type: '\0' }));
    expect(paths(await read(entry({ name: 'a/', type: '5' })))).toEqual([]);
  });

  it('with something else in the place of the root', async () => {
    for (const name of ['.', './', '/']) {
      await refused('OCI_LAYER_PATH', entry({ name, type: '2', link: '/etc' }));
      expect(paths(await read(entry({ name, type: '5' }), file()))).toEqual(['/a']);
    }
    await refused('OCI_LAYER_PATH', file({ name: '.' }));
  });

  it('with two names for one entry', async () => {
    await refused('OCI_LAYER', pax({ path: 'b' }), pax({ path: 'c' }), file());
    await refused('OCI_LAYER', gnuLong('L', 'b'), gnuLong('L', 'c'), file());
    await refused('OCI_LAYER', gnuLong('L', 'b'), pax({ path: 'c' }), file());
    await refused('OCI_LAYER', pax({ path: 'c' }), gnuLong('L', 'b'), file());
    const link = entry({ name: 'l', type: '1', link: 'a' });
    await refused('OCI_LAYER', file(), pax({ linkpath: 'a' }), gnuLong('K', 'a'), link);
    expect(paths(await read(gnuLong('L', 'b'), file()))).toEqual(['/b']);
    expect(paths(await read(pax({ path: 'b' }), file()))).toEqual(['/b']);
    expect(paths(await read(file(), gnuLong('K', 'a'), gnuLong('L', 'b'), link))).toEqual(['/a', '/b']);
    // Of one key in one header the last holds (POSIX), and all readers read it so.
    const both = Buffer.concat([record('path', 'b'), record('path', 'c')]);
    expect(paths(await read(entry({ type: 'x', content: both }), file()))).toEqual(['/c']);
  });

  it('with a name for all entries, which Go’s reader passes over', async () => {
    for (const record of [{ path: 'b' }, { linkpath: 'b' }, { size: '1' }, { uid: '1' }, { gid: '1' }]) {
      await refused('OCI_LAYER', pax(record, 'g'), file());
    }
    expect(paths(await read(pax({ comment: 'of a commit' }, 'g'), file()))).toEqual(['/a']);
    await refused('OCI_LAYER', pax({ path: 'b' }), pax({ comment: 'x' }, 'g'), file());
  });

  it('with a header that describes nothing', async () => {
    await refused('OCI_LAYER', file(), pax({ path: 'b' }));
    await refused('OCI_LAYER', file(), gnuLong('L', 'b'));
    await expect(manifestOfLayers([gzipped(pax({ path: 'b' }))])).rejects.toThrow(refusal('OCI_LAYER'));
  });

  it('with a malformed extended header', async () => {
    for (const content of [
      'x',
      '6 a=b',
      '7 a=b\n',
      '5 a=b\n',
      '06 a=b\n',
      '-6 a=b\n',
      '5 =b\n',
      '4 a\n',
      '6 a=b\n\0',
    ]) {
      await refused('OCI_LAYER', entry({ type: 'x', content }), file());
    }
    expect(paths(await read(entry({ type: 'x', content: '6 a=b\n' }), file()))).toEqual(['/a']);
    await refused('OCI_LAYER', pax({ path: 'a\0b' }), file());
    await refused('OCI_LAYER', gnuLong('L', 'a\0b'), file());
    await refused('OCI_LAYER', gnuLong('L', ''), file());
  });

  it('in a format whose names readers put together differently', async () => {
    const prefix = { 345: 'dir' };
    expect(paths(await read(file({ raw: prefix })))).toEqual(['/dir/a']);
    await refused('OCI_LAYER', file({ raw: { ...prefix, 508: 'tar\0' } }));
    await refused('OCI_LAYER', file({ raw: { ...prefix, 257: 'ustar  \0' } }));
    await refused('OCI_LAYER', file({ raw: { 257: '\0\0\0\0\0\0\0\0' } }));
    await refused('OCI_LAYER', file({ raw: { 257: 'ustar z\0' } }));
    expect(paths(await read(file({ raw: { 257: 'ustar  \0', 345: '00000000001\0' } })))).toEqual(['/a']);
  });

  it('with a header that was changed, or a number that is none', async () => {
    const changed = file();
    changed[0] = 'b'.charCodeAt(0);
    await refused('OCI_LAYER', changed);
    await refused('OCI_LAYER', file({ raw: { 124: '00000000004x' } }));
    await refused('OCI_LAYER', pax({ size: '4x' }), file());
    await refused('OCI_LAYER', file({ raw: { 124: new Uint8Array(12).fill(0xff) } }));
    expect(paths(await read(pax({ size: '4' }), file({ raw: { 124: '00000000000' } })))).toEqual(['/a']);
    expect(paths(await read(file({ raw: { 124: base256(4, 12) } })))).toEqual(['/a']);
  });

  it('that ends anywhere but after an entry', async () => {
    const whole = archive(pax({ path: 'b' }), file());
    for (let end = 1; end < whole.length; end += 100) {
      if (end > 2048 && end % 512 === 0) continue;
      const cut = manifestOfLayers([gzipped(whole.slice(0, end))]);
      await expect(cut).rejects.toThrow(refusal('OCI_LAYER'));
    }
    expect(paths(await manifestOfLayers([gzipped(whole)]))).toEqual(['/b']);
  });
});

describe('a file manifest is what runtimes unpack', () => {
  const base = archive(entry({ name: 'b', content: 'old' }), entry({ name: 'd/x', content: 'old' }));
  const over = (...parts: readonly Uint8Array[]) =>
    manifestOfLayers([gzipped(base), gzipped(archive(...parts))]);
  const whiteout = (name: string) => entry({ name });

  it('and not what a hard link says of its file', async () => {
    const one = entry({ name: 'one', content: 'x' });
    const link = (header: Header) => entry({ name: 'two', type: '1', link: 'one', ...header });
    expect((await read(one, link({}))).files.map(({ mode }) => mode)).toEqual([0o644, 0o644]);
    // Attack: a runtime makes the file set-user-id, and of a manifest of the file alone nobody would know.
    await refused('OCI_LAYER', one, link({ mode: 0o4755 }));
    await refused('OCI_LAYER', one, link({ uid: 5 }));
    await refused('OCI_LAYER', one, link({ gid: 5 }));
    const itself = entry({ name: 'one', type: '1', link: 'one' });
    await refused('OCI_LAYER', one, itself);
    const symlink = entry({ name: 'one', type: '2', link: 'gone' });
    expect(paths(await read(symlink, link({}), entry({ name: 'a' })))).toEqual(['/a']);
  });

  it('where a layer takes away what it has itself: some runtimes take it, and some do not', async () => {
    expect(paths(await over(whiteout('.wh.b'), entry({ name: 'b' })))).toEqual(['/b', '/d/x']);
    await expect(over(entry({ name: 'b' }), whiteout('.wh.b'))).rejects.toThrow(refusal('OCI_LAYER'));
    await expect(over(entry({ name: 'd/y' }), whiteout('.wh.d'))).rejects.toThrow(refusal('OCI_LAYER'));
    // Of an opaque whiteout they all know what is of its own layer.
    expect(paths(await over(entry({ name: 'd/y' }), whiteout('d/.wh..wh..opq')))).toEqual(['/b', '/d/y']);
  });

  it('where a whiteout names nothing, or what is around it', async () => {
    for (const name of ['d/.wh.', 'd/.wh..', 'd/.wh...']) {
      await expect(over(whiteout(name))).rejects.toThrow(refusal('OCI_LAYER_PATH'));
    }
    expect(paths(await over(whiteout('d/.wh.x')))).toEqual(['/b']);
  });

  it('where something lies below a whiteout', async () => {
    for (const name of ['.wh..wh.plnk/1', '.wh.d/x']) {
      await expect(over(entry({ name }))).rejects.toThrow(refusal('OCI_LAYER_PATH'));
    }
    // What one engine leaves of its own there is passed over by all.
    expect(paths(await over(entry({ name: '.wh..wh.plnk', type: '5' })))).toEqual(['/b', '/d/x']);
  });

  it('where a whiteout is reached through a symbolic link', async () => {
    const linked = archive(
      entry({ name: 'usr/a', content: 'x' }),
      entry({ name: 'lib', type: '2', link: 'usr' }),
    );
    const through = manifestOfLayers([gzipped(linked), gzipped(archive(whiteout('lib/.wh.a')))]);
    await expect(through).rejects.toThrow(refusal('OCI_LAYER_PATH'));
    const plain = await manifestOfLayers([gzipped(linked), gzipped(archive(whiteout('usr/.wh.a')))]);
    expect(paths(plain)).toEqual([]);
    const replaced = archive(entry({ name: 'lib', type: '5' }), whiteout('lib/.wh.a'));
    expect(paths(await manifestOfLayers([gzipped(linked), gzipped(replaced)]))).toEqual(['/usr/a']);
  });

  it('however it comes in pieces', async () => {
    const long = `${'long/'.repeat(40)}name`;
    const tar = archive(
      pax({ path: `${long}-1`, uid: '3000000' }),
      entry({ content: 'x'.repeat(1500) }),
      gnuLong('L', `${long}-2`),
      entry({ content: 'y'.repeat(512) }),
      entry({ name: 'empty' }),
      entry({ name: 'dir', type: '5' }),
    );
    const plain = { tar, suffix: '', compressed: tar } as const;
    const whole = await manifestOfLayers([plain]);
    expect(paths(whole)).toEqual(['/empty', `/${long}-1`, `/${long}-2`]);
    for (const piece of [1, 7, 511, 512, 513, 1000]) {
      expect(await manifestOfLayers([plain], LIMITS, piece)).toEqual(whole);
    }
  });

  it.each(['gnu', 'pax', 'ustar'])('of what GNU tar packs as %s', async (format) => {
    const dir = mkdtempSync(join(tmpdir(), 'kallio-tar-'));
    const root = join(dir, 'root');
    const deep = join(root, ...Array.from({ length: 6 }, () => 'a-directory-of-some-length'));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, 'long-'.repeat(format === 'ustar' ? 10 : 40)), 'long');
    writeFileSync(join(root, 'tool'), 'tool', { mode: 0o755 });
    writeFileSync(join(root, 'päivää'), '');
    writeFileSync(join(root, 'big'), Buffer.alloc(300_000, 'big'));
    symlinkSync('tool', join(root, 'link'));
    linkSync(join(root, 'tool'), join(root, 'same'));
    const file = join(dir, 'layer.tar');
    // ustar has no room for such an owner.
    const id = format === 'ustar' ? 1000 : 1000660000;
    execFileSync('tar', [
      `--format=${format}`,
      `--owner=:${id}`,
      `--group=:${id}`,
      '-C',
      root,
      '-cf',
      file,
      '.',
    ]);
    const manifest = await manifestOfLayers([gzipped(new Uint8Array(readFileSync(file)))]);
    expect(manifest.files).toHaveLength(5);
    expect(manifest.files.every(({ uid, gid }) => uid === id && gid === id)).toBe(true);
    expect(await checkRoot(root, manifest)).toEqual({ changed: [], missing: [], added: [] });
    rmSync(dir, { recursive: true });
  });
});
