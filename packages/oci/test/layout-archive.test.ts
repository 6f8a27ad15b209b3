import { execFileSync } from 'node:child_process';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { digestOf, utf8 } from '@kallio/codec';
import { type Header, pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ArchiveLimits, imageOf, MEDIA, openLayout, unpackLayout } from '../src/index.ts';

type Entry = readonly [header: Partial<Header> & { readonly name: string }, content?: Uint8Array];

const config = utf8(
  JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [] } }),
);
const described = (mediaType: string, bytes: Uint8Array) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});
const json = (value: unknown) => utf8(JSON.stringify(value));
const manifest = json({ schemaVersion: 2, config: described(MEDIA.config, config), layers: [] });
const index = json({ schemaVersion: 2, manifests: [described(MEDIA.manifest, manifest)] });
const blob = (bytes: Uint8Array) => `blobs/sha256/${digestOf(bytes).slice('sha256:'.length)}`;
const other = utf8('other');

/** A layout as BuildKit's exporter writes it. */
const honest: readonly Entry[] = [
  [{ name: 'blobs/', type: 'directory' }],
  [{ name: 'blobs/sha256/', type: 'directory' }],
  [{ name: blob(manifest) }, manifest],
  [{ name: blob(config) }, config],
  [{ name: 'index.json' }, index],
  [{ name: 'oci-layout' }, utf8('{"imageLayoutVersion":"1.0.0"}')],
];

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-archive-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function archiveOf(entries: readonly Entry[]): Promise<string> {
  const tar = pack();
  const file = join(dir, 'out.tar');
  const written = pipeline(tar, createWriteStream(file));
  for (const [header, content] of entries) {
    if (content === undefined) tar.entry(header);
    else tar.entry({ ...header }, Buffer.from(content));
  }
  tar.finalize();
  await written;
  return file;
}

const into = () => join(dir, 'unpacked');
async function unpacked(entries: readonly Entry[], limits?: ArchiveLimits): Promise<string | undefined> {
  rmSync(into(), { recursive: true, force: true });
  const archive = await archiveOf(entries);
  const before = readdirSync(dir);
  try {
    await unpackLayout(archive, into(), limits === undefined ? {} : { limits });
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  } finally {
    // Nothing beside the folder, whatever the archive wanted.
    expect(readdirSync(dir).filter((name) => !before.includes(name))).toEqual(['unpacked']);
  }
}

describe('an image layout in a tar archive', () => {
  it('is unpacked, and is the image that it was', async () => {
    expect(await unpacked(honest)).toBeUndefined();
    const layout = await openLayout(into());
    const image = await imageOf(layout, await layout.manifest('latest'));
    expect(image.claims.architecture).toBe('amd64');
  });

  it('may be made by tar itself, and hold what Docker puts beside it', async () => {
    const layout = join(dir, 'layout');
    mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
    for (const [{ name }, content] of honest) if (content) writeFileSync(join(layout, name), content);
    writeFileSync(join(layout, 'manifest.json'), '[]');
    execFileSync('tar', ['-C', layout, '-cf', join(dir, 'made.tar'), '.']);
    await unpackLayout(join(dir, 'made.tar'), into());
    expect((await openLayout(into())).manifests).toHaveLength(1);
    expect(existsSync(join(into(), 'manifest.json'))).toBe(false);
  });

  const hostile: [string, Entry, string][] = [
    ['a name that climbs out', [{ name: '../escaped' }, other], 'OCI_LAYOUT'],
    ['a name that climbs out of the blobs', [{ name: 'blobs/sha256/../../../escaped' }, other], 'OCI_LAYOUT'],
    ['an absolute name', [{ name: '/tmp/kallio-escaped' }, other], 'OCI_LAYOUT'],
    ['a name of no layout', [{ name: 'blobs/sha256/short' }, other], 'OCI_LAYOUT'],
    ['a folder of no layout', [{ name: 'blobs/sha512', type: 'directory' }], 'OCI_LAYOUT'],
    [
      'a long name that climbs out',
      [{ name: `blobs/sha256/../../${'x/'.repeat(99)}e` }, other],
      'OCI_LAYOUT',
    ],
    ['a symbolic link', [{ name: blob(other), type: 'symlink', linkname: '/etc/passwd' }], 'OCI_LAYOUT'],
    ['a link for a folder', [{ name: 'blobs', type: 'symlink', linkname: '/tmp' }], 'OCI_LAYOUT'],
    ['a hard link', [{ name: blob(other), type: 'link', linkname: 'index.json' }], 'OCI_LAYOUT'],
    ['a device', [{ name: blob(other), type: 'character-device' }], 'OCI_LAYOUT'],
    ['a pipe', [{ name: blob(other), type: 'fifo' }], 'OCI_LAYOUT'],
    ['a blob twice', [{ name: blob(config) }, config], 'OCI_LAYOUT'],
    ['its index twice', [{ name: './index.json' }, index], 'OCI_LAYOUT'],
    ['an index that is longer than any', [{ name: 'oci-layout' }, new Uint8Array(5 << 20)], 'OCI_TOO_LARGE'],
  ];
  it.each(hostile)('is refused with %s', async (_, entry, code) => {
    // Before all else, and after it: whatever comes first, the name is the same.
    expect(await unpacked([entry, ...honest])).toBe(code);
    expect(await unpacked([...honest, entry])).toBe(code);
    expect(existsSync('/tmp/kallio-escaped')).toBe(false);
    expect(await unpacked(honest)).toBeUndefined();
  });

  it('is refused above its limits, and taken below', async () => {
    const limits = { entries: honest.length, file: 1000, bytes: 2000 };
    expect(await unpacked(honest, limits)).toBeUndefined();
    expect(await unpacked(honest, { ...limits, entries: honest.length - 1 })).toBe('OCI_TOO_LARGE');
    expect(await unpacked(honest, { ...limits, file: config.length - 1 })).toBe('OCI_TOO_LARGE');
    expect(await unpacked(honest, { ...limits, bytes: 200 })).toBe('OCI_TOO_LARGE');
  });

  it('is refused without an index, cut short, compressed, or as no archive', async () => {
    expect(await unpacked(honest.filter(([{ name }]) => name !== 'index.json'))).toBe('OCI_LAYOUT');
    const archive = await archiveOf(honest);
    const whole = execFileSync('cat', [archive]);
    for (const bytes of [whole.subarray(0, 1800), gzipSync(whole), utf8('x'.repeat(2048)), utf8('')]) {
      rmSync(into(), { recursive: true, force: true });
      writeFileSync(archive, bytes);
      await expect(unpackLayout(archive, into())).rejects.toMatchObject({ code: 'OCI_LAYOUT' });
    }
    writeFileSync(archive, whole);
    rmSync(into(), { recursive: true, force: true });
    await unpackLayout(archive, into());
  });

  it('as docker save wrote it before there were layouts is refused with a word on that', async () => {
    const archive = await archiveOf([
      [{ name: 'manifest.json' }, utf8('[]')],
      [{ name: `sha256:${'0'.repeat(64)}` }, other],
    ]);
    await expect(unpackLayout(archive, into())).rejects.toMatchObject({
      code: 'OCI_LAYOUT',
      hint: expect.stringContaining('docker-archive'),
    });
  });

  it('is no more unpacked once that is called off', async () => {
    const archive = await archiveOf(honest);
    const stop = new AbortController();
    stop.abort(new Error('called off'));
    await expect(unpackLayout(archive, into(), { signal: stop.signal })).rejects.toThrow('called off');
    rmSync(into(), { recursive: true, force: true });
    await unpackLayout(archive, into(), { signal: new AbortController().signal });
  });
});
