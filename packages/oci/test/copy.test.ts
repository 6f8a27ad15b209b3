import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, digestOf, parseDigest, utf8 } from '@kallio/codec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  copyImage,
  copyReferrers,
  type Descriptor,
  type FileManifest,
  type FoundManifest,
  fileManifestBytes,
  type ImageSource,
  MEDIA,
  openLayout,
  parseFileManifest,
  publishReferrer,
  Repository,
  writeLayout,
} from '../src/index.ts';

const PIECE = 64 * 1024;
const MiB = 1024 * 1024;

/** A layer of so many bytes that no memory holds: piece `i` is full of byte `i`. */
function pieceOf(i: number): Uint8Array {
  return new Uint8Array(PIECE).fill(i & 0xff);
}

function layerOf(pieces: number): Pick<Descriptor, 'digest' | 'size'> {
  const hash = createHash('sha256');
  for (let i = 0; i < pieces; i++) hash.update(pieceOf(i));
  return { digest: parseDigest(`sha256:${hash.digest('hex')}`), size: pieces * PIECE };
}

/** What a source gives for its one layer, and how far it has got. */
interface Given {
  readonly pieces: number;
  readonly alter?: (piece: Uint8Array, i: number) => Uint8Array;
  given: number;
}

const config = utf8(
  JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [] } }),
);

/** An image of one large layer, which is made while it is read. */
function imageOf(layer: Pick<Descriptor, 'digest' | 'size'>, given: Given) {
  const bytes = utf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: { mediaType: MEDIA.config, digest: digestOf(config), size: config.length },
      layers: [{ mediaType: MEDIA.layer, ...layer }],
    }),
  );
  const found: FoundManifest = { bytes, digest: digestOf(bytes), mediaType: MEDIA.manifest };
  const source: ImageSource = {
    manifest: async () => found,
    blob: async () => config,
    stream: async () =>
      (async function* () {
        for (let i = 0; i < given.pieces; i++) {
          given.given += PIECE;
          yield given.alter?.(pieceOf(i), i) ?? pieceOf(i);
        }
      })(),
  };
  return { found, source };
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-copy-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const blobs = () => readdirSync(join(dir, 'blobs', 'sha256'));
const nameOf = (digest: Digest) => digest.slice('sha256:'.length);

/** What a source may give instead of what its manifest names. */
const hostile: [string, string, Partial<Given>][] = [
  [
    'with one other byte at the end',
    'OCI_DIGEST_MISMATCH',
    { alter: (p, i) => (i === 15 ? p.map((b, at) => (at === PIECE - 1 ? b ^ 1 : b)) : p) },
  ],
  [
    'with one other byte at the beginning',
    'OCI_DIGEST_MISMATCH',
    { alter: (p, i) => (i === 0 ? p.map((b, at) => (at === 0 ? b ^ 1 : b)) : p) },
  ],
  ['that is shorter', 'OCI_SIZE_MISMATCH', { pieces: 15 }],
  ['that never ends', 'OCI_TOO_LARGE', { pieces: Number.POSITIVE_INFINITY }],
];

describe('a layer that is copied to a folder', () => {
  it('is what its digest says, piece by piece', async () => {
    const layer = layerOf(16);
    const { found, source } = imageOf(layer, { pieces: 16, given: 0 });
    await copyImage(source, found, await writeLayout(dir), 'v1');
    expect(digestOf(readFileSync(join(dir, 'blobs', 'sha256', nameOf(layer.digest))))).toBe(layer.digest);
  });

  for (const [name, code, change] of hostile) {
    it(`is refused ${name}, and nothing of it is left`, async () => {
      const given = { pieces: 16, given: 0, ...change };
      const { found, source } = imageOf(layerOf(16), given);
      const copied = copyImage(source, found, await writeLayout(dir), 'v1');
      await expect(copied).rejects.toMatchObject({ code });
      expect(blobs()).toEqual([]);
      expect(given.given).toBeLessThanOrEqual(18 * PIECE);
    });
  }

  it('is refused by its size before a byte of it is read, when no disk should hold it', async () => {
    const given = { pieces: 16, given: 0 };
    const { found, source } = imageOf({ ...layerOf(16), size: 17 * 1024 ** 3 }, given);
    await expect(copyImage(source, found, await writeLayout(dir))).rejects.toMatchObject({
      code: 'OCI_TOO_LARGE',
    });
    expect(given.given).toBe(0);
  });
});

describe('a layer that is copied to a registry', () => {
  let server: Server;
  let received: number;
  let stored: Buffer[][];
  let ahead: number;
  let given: Given;
  /** How long the registry takes over each piece. */
  let slowness: number;
  beforeEach(async () => {
    received = 0;
    ahead = 0;
    stored = [];
    slowness = 0;
    server = createServer(async (request, response) => {
      if (request.method === 'HEAD') return void response.writeHead(404).end();
      if (request.method === 'POST') return void response.writeHead(202, { location: '/upload' }).end();
      const pieces: Buffer[] = [];
      try {
        for await (const piece of request) {
          received += piece.length;
          ahead = Math.max(ahead, given.given - received);
          if (slowness > 0) await wait(slowness);
          else pieces.push(piece);
        }
      } catch {
        // The sender broke off: nothing is stored.
        return;
      }
      stored.push(pieces);
      response.writeHead(201).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const target = () =>
    new Repository({ registry: `127.0.0.1:${(server.address() as AddressInfo).port}`, repository: 'app' });

  it('arrives as it is', async () => {
    const layer = layerOf(16);
    given = { pieces: 16, given: 0 };
    const { found, source } = imageOf(layer, given);
    await copyImage(source, found, target(), 'v1');
    expect(stored.map((pieces) => digestOf(Buffer.concat(pieces)))).toEqual([
      layer.digest,
      digestOf(config),
      found.digest,
    ]);
  });

  for (const [name, code, change] of hostile) {
    it(`is refused ${name}, and the registry has no whole blob of it`, async () => {
      given = { pieces: 16, given: 0, ...change };
      const { found, source } = imageOf(layerOf(16), given);
      await expect(copyImage(source, found, target(), 'v1')).rejects.toMatchObject({ code });
      expect(stored).toEqual([]);
    });
  }

  it('is not asked for where the registry takes none', async () => {
    const layer = layerOf(16);
    const blob = { digest: layer.digest, size: layer.size };
    const nowhere = new Repository({ registry: '127.0.0.1:1', repository: 'app' });
    let opened = 0;
    const open = async () => {
      opened++;
      throw new Error('the source is gone');
    };
    await expect(nowhere.pushStream(blob, open)).rejects.toMatchObject({ code: 'OCI_UNREACHABLE' });
    server.removeAllListeners('request').on('request', (request, response) => {
      response.writeHead(request.method === 'HEAD' ? 404 : 403).end();
    });
    await expect(target().pushStream(blob, open)).rejects.toMatchObject({ code: 'OCI_DENIED' });
    expect(opened).toBe(0);
  });

  it('is never more than a few MiB ahead of a slow registry, however large it is', async () => {
    const pieces = (64 * MiB) / PIECE;
    given = { pieces, given: 0 };
    slowness = 1;
    const { found, source } = imageOf(layerOf(pieces), given);
    await copyImage(source, found, target(), 'v1');
    expect(received).toBeGreaterThanOrEqual(64 * MiB);
    // What sockets hold, and a piece or two: not the layer.
    expect(ahead).toBeLessThan(16 * MiB);
  });
});

describe('a folder', () => {
  it('is read as a layout when it is one, and refused when it is none', async () => {
    await expect(openLayout(dir)).rejects.toMatchObject({ code: 'OCI_LAYOUT' });
    const { found, source } = imageOf(layerOf(1), { pieces: 1, given: 0 });
    await copyImage(source, found, await writeLayout(dir), 'v1');
    expect((await openLayout(dir)).manifests.map(({ digest }) => digest)).toEqual([found.digest]);
    rmSync(join(dir, 'blobs', 'sha256', nameOf(found.digest)));
    await expect((await openLayout(dir)).manifest('v1')).rejects.toMatchObject({ code: 'OCI_LAYOUT' });
  });
});

describe('what is attached to an image that is copied', () => {
  const TYPE = 'application/x-signature';
  const bytes = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.manifest, config: {}, layers: [] }));
  const subject = { bytes, digest: digestOf(bytes), mediaType: MEDIA.manifest };
  const from = () => join(dir, 'from');
  const publish = async (name: string) =>
    publishReferrer(await writeLayout(from()), subject, { type: TYPE, bytes: utf8(name) });
  /** Lists so many that are whatever was said, before everything that is there. */
  const listFirst = (count: number, entry: (i: number) => Pick<Descriptor, 'digest' | 'size'>) => {
    const file = join(from(), 'index.json');
    const { manifests, ...rest } = JSON.parse(readFileSync(file, 'utf8'));
    const listed = Array.from({ length: count }, (_, i) => ({
      mediaType: MEDIA.manifest,
      artifactType: TYPE,
      ...entry(i),
    }));
    writeFileSync(file, JSON.stringify({ ...rest, manifests: [...listed, ...manifests] }));
  };
  const copied = async (first?: ReadonlySet<Digest>) => {
    const layout = await openLayout(from());
    const listing = async (_: Digest, type: string) =>
      layout.manifests.filter(({ artifactType }) => artifactType === type);
    const source = { ...layout, referrers: listing };
    return copyReferrers(source, [subject.digest], [TYPE], await writeLayout(join(dir, 'to')), first);
  };
  const flooded = { code: 'OCI_REFERRERS' };

  it('is all of it, where that is not more than anybody attaches', async () => {
    const all: Digest[] = [];
    for (let i = 0; i < 64; i++) all.push(await publish(`${i}`));
    expect(await copied()).toEqual({ copied: all, left: 0 });
    all.push(await publish('one more'));
    await expect(copied()).rejects.toMatchObject(flooded);
  });

  it('is in a flood what was named, and as much of the rest as there is room for', async () => {
    for (let i = 0; i < 70; i++) await publish(`junk ${i}`);
    const real = await publish('real');
    const found = await copied(new Set([real]));
    expect(found).toMatchObject({ left: 7 });
    expect(found.copied).toHaveLength(64);
    expect(found.copied[0]).toBe(real);
    expect((await openLayout(join(dir, 'to'))).manifests[0]?.digest).toBe(real);
  });

  it('must be there, where it was named', async () => {
    const real = await publish('real');
    await expect(copied(new Set([real, digestOf(utf8('gone'))]))).rejects.toMatchObject({
      code: 'OCI_REFERRERS',
      pointer: digestOf(utf8('gone')),
    });
    expect(await copied(new Set([real]))).toEqual({ copied: [real], left: 0 });
  });

  it('is not kept from being copied by what is not there, is of another image, or too large', async () => {
    const real = await publish('real');
    const target = await writeLayout(from());
    const other = { ...subject, digest: digestOf(utf8('other')) };
    const ofAnother = await publishReferrer(target, other, { type: TYPE, bytes: utf8('x') });
    const gone = await publish('gone');
    rmSync(join(from(), 'blobs', 'sha256', nameOf(digestOf(utf8('gone')))));
    const { bytes: honest } = await (await openLayout(from())).manifest(real);
    const huge = utf8(
      Buffer.from(honest)
        .toString()
        .replace('"size":4}', `"size":${2 ** 40}}`),
    );
    expect(huge.length).toBeGreaterThan(honest.length);
    await target.pushManifest(huge, MEDIA.manifest);
    listFirst(1, () => ({ digest: digestOf(huge), size: huge.length }));
    listFirst(100, (i) => ({ digest: digestOf(utf8(`not there ${i}`)), size: 1 }));
    expect((await openLayout(from())).manifests.map(({ digest }) => digest)).toEqual(
      expect.arrayContaining([real, ofAnother, gone, digestOf(huge)]),
    );
    expect(await copied()).toEqual({ copied: [real], left: 0 });
    // But nobody looks through all that can be listed.
    listFirst(1000, (i) => ({ digest: digestOf(utf8(`not there ${i}`)), size: 1 }));
    await expect(copied()).rejects.toMatchObject(flooded);
    expect(await copied(new Set([real]))).toEqual({ copied: [real], left: 80 });
  });
});

describe('a folder of several images', () => {
  const index = () => JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8'));
  const image = (name: string) =>
    utf8(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA.manifest,
        config: described,
        layers: [],
        annotations: { name },
      }),
    );
  const described = { mediaType: MEDIA.config, digest: digestOf(config), size: config.length };
  const [one, two, three] = [image('one'), image('two'), image('three')];
  const put = async (bytes: Uint8Array, tag: string) =>
    (await writeLayout(dir)).pushManifest(bytes, MEDIA.manifest, tag);
  const named = async (name: string) => (await (await openLayout(dir)).manifest(name)).digest;

  it('keeps them all: one whose name another takes is had by its digest', async () => {
    await put(one, 'v1');
    await put(two, 'v2');
    await put(three, 'v1');
    expect((await openLayout(dir)).manifests.map(({ digest, annotations }) => [digest, annotations])).toEqual(
      [
        [digestOf(one), undefined],
        [digestOf(two), { 'org.opencontainers.image.ref.name': 'v2' }],
        [digestOf(three), { 'org.opencontainers.image.ref.name': 'v1' }],
      ],
    );
    expect(await named('v1')).toBe(digestOf(three));
    expect(await named(digestOf(one))).toBe(digestOf(one));
    await put(one, 'v1');
    expect(await named('v1')).toBe(digestOf(one));
    expect(index().manifests).toHaveLength(3);
  });

  it('lets one image have two names, and one of them taken', async () => {
    await put(one, 'v1');
    await put(one, 'stable');
    await put(one, 'v1');
    expect(index().manifests).toHaveLength(2);
    await put(two, 'stable');
    expect([await named('v1'), await named('stable')]).toEqual([digestOf(one), digestOf(two)]);
    expect(index().manifests).toHaveLength(2);
  });

  it('gives the image of the tag that was asked for, and no other in its place', async () => {
    await put(one, 'v1');
    // Nobody said a tag: it is the only one there.
    expect(await named('latest')).toBe(digestOf(one));
    await expect(named('v2')).rejects.toMatchObject({ code: 'OCI_NOT_FOUND' });
    await put(two, 'v2');
    expect(await named('v2')).toBe(digestOf(two));
    await expect(named('latest')).rejects.toMatchObject({ code: 'OCI_NOT_FOUND' });
  });

  it('keeps what others wrote into its index, known or not', async () => {
    await put(one, 'v1');
    const theirs = {
      mediaType: MEDIA.manifest,
      digest: digestOf(two),
      size: two.length,
      annotations: { 'org.opencontainers.image.ref.name': 'v1', 'org.example.note': 'kept' },
      'org.example.unknown': [1],
    };
    const document = { schemaVersion: 2, manifests: [theirs], annotations: { by: 'others' }, also: { x: 1 } };
    const target = await writeLayout(dir);
    // Written by another after this one began.
    writeFileSync(join(dir, 'index.json'), JSON.stringify(document));
    await target.pushManifest(three, MEDIA.manifest, 'v1');
    expect(index()).toMatchObject({ annotations: { by: 'others' }, also: { x: 1 } });
    expect(index().manifests[0]).toEqual({ ...theirs, annotations: { 'org.example.note': 'kept' } });
    expect(index().manifests).toHaveLength(2);
  });
});

describe('a folder that was not copied whole', () => {
  const nobody = { mediaType: MEDIA.layer, digest: digestOf(utf8('not there')), size: 9 };

  it('has no blob that is missing, nor one that can’t be read', async () => {
    const layer = layerOf(2);
    const { found, source } = imageOf(layer, { pieces: 2, given: 0 });
    await copyImage(source, found, await writeLayout(dir), 'v1');
    const layout = await openLayout(dir);
    const described = { mediaType: MEDIA.layer, ...layer };
    const length = async (of: Descriptor) => {
      let read = 0;
      for await (const piece of await layout.stream(of)) read += piece.length;
      return read;
    };
    expect(await length(described)).toBe(2 * PIECE);
    expect(await layout.blob(described, 2 * PIECE)).toHaveLength(2 * PIECE);
    const missing = expect.objectContaining({ code: 'OCI_LAYOUT' });
    await expect(layout.blob(nobody, 9)).rejects.toThrow(missing);
    await expect(length(nobody)).rejects.toThrow(missing);
    // What is for asking is no error.
    await expect(layout.content(nobody.digest, 9)).resolves.toBeUndefined();
    const path = join(dir, 'blobs', 'sha256', nameOf(layer.digest));
    for (const put of [
      () => mkdirSync(path),
      // Attack: a pipe that nobody writes to, which would be waited for.
      () => execFileSync('mkfifo', [path]),
      () => symlinkSync('/dev/zero', path),
      () => symlinkSync('.', path),
    ]) {
      rmSync(path, { recursive: true });
      put();
      await expect(layout.blob(described, 2 * PIECE)).rejects.toThrow(missing);
      await expect(layout.content(layer.digest, 2 * PIECE)).rejects.toThrow(missing);
      await expect(length(described)).rejects.toThrow(missing);
    }
  });

  it('is copied nowhere', async () => {
    const { found, source } = imageOf(layerOf(2), { pieces: 2, given: 0 });
    const from = join(dir, 'from');
    await copyImage(source, found, await writeLayout(from), 'v1');
    const to = await writeLayout(join(dir, 'to'));
    const layout = await openLayout(from);
    await copyImage(layout, found, to, 'v1');
    for (const gone of [digestOf(config), layerOf(2).digest]) {
      rmSync(join(from, 'blobs', 'sha256', nameOf(gone)));
      await expect(copyImage(layout, found, to, 'v2')).rejects.toMatchObject({ code: 'OCI_LAYOUT' });
    }
    await expect((await openLayout(join(dir, 'to'))).manifest('v2')).rejects.toMatchObject({
      code: 'OCI_NOT_FOUND',
    });
  });
});

describe('a file manifest', () => {
  it('is read as it was written, and refused with a field more or less', () => {
    const files = [{ path: '/a', sha256: '11'.repeat(32), mode: 0o644, uid: 0, gid: 0, size: 1 }];
    const made: FileManifest = { version: 'kallio-file-manifest-v1', files };
    expect(parseFileManifest(fileManifestBytes(made))).toEqual(made);
    for (const bad of [{ files }, { ...made, also: 1 }, { ...made, files: [{ path: '/a' }] }]) {
      expect(() => parseFileManifest(utf8(JSON.stringify(bad)))).toThrow(
        expect.objectContaining({ code: 'FILE_MANIFEST_SHAPE' }),
      );
    }
  });
});
