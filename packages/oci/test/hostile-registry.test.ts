import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { digestOf, utf8 } from '@kallio/codec';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exchange } from '../src/http/exchange.ts';
import { childrenOf, fileManifest, MEDIA, Repository, referrerBlob, walkImage } from '../src/index.ts';

/* A registry that answers what an attacker likes; each answer stands beside the honest one, which passes. */

const AMD64 = { os: 'linux', architecture: 'amd64' };
const tar = new Uint8Array(1024);
const layer = new Uint8Array(gzipSync(tar));
const described = (mediaType: string, bytes: Uint8Array) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});
const json = (value: unknown) => utf8(JSON.stringify(value));
const configOf = (changes: object = {}) =>
  json({ ...AMD64, rootfs: { type: 'layers', diff_ids: [digestOf(tar)] }, ...changes });
const imageOf = (config = configOf(), changes: object = {}) => ({
  schemaVersion: 2,
  mediaType: MEDIA.manifest,
  config: described(MEDIA.config, config),
  layers: [described(`${MEDIA.layer}+gzip`, layer)],
  ...changes,
});

interface Answer {
  readonly status?: number;
  readonly mediaType?: string;
  readonly bytes?: Uint8Array;
  readonly headers?: Record<string, string>;
}

let server: Server;
let host: string;
let seen: { path: string; authorization: string | undefined }[];
let answers: Map<string, Answer>;
beforeEach(async () => {
  seen = [];
  answers = new Map();
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function answer(request: IncomingMessage, response: ServerResponse): void {
  const path = (request.url ?? '').replace('/v2/app', '');
  seen.push({ path, authorization: request.headers.authorization });
  const found = answers.get(path) ?? answers.get(path.split('?')[0] ?? '');
  if (found === undefined) {
    response.writeHead(404).end();
    return;
  }
  const type = found.mediaType === undefined ? {} : { 'content-type': found.mediaType };
  response.writeHead(found.status ?? 200, { ...type, ...found.headers }).end(found.bytes);
}

const repository = () => new Repository({ registry: host, repository: 'app' });
const serveBlob = (bytes: Uint8Array, under = bytes) => answers.set(`/blobs/${digestOf(under)}`, { bytes });
function serveManifest(document: unknown, under: string, mediaType: string = MEDIA.manifest) {
  const bytes = document instanceof Uint8Array ? document : json(document);
  answers.set(`/manifests/${under}`, { bytes, mediaType });
  answers.set(`/manifests/${digestOf(bytes)}`, { bytes, mediaType });
  return described(mediaType, bytes);
}
function serveImage(manifest: object = imageOf(), config = configOf()) {
  serveBlob(layer);
  serveBlob(config);
  return serveManifest(manifest, 'v1');
}
const walk = () => walkImage(repository(), 'v1', AMD64);
const refusal = (code: string) => expect.objectContaining({ code });

describe('an image is refused', () => {
  beforeEach(async () => {
    serveImage();
    await expect(walk()).resolves.toMatchObject({ layers: [{ digest: digestOf(layer) }] });
  });

  it('when other bytes are given for a digest', async () => {
    const { digest } = serveImage();
    const bytes = json({ ...imageOf(), annotations: { changed: 'yes' } });
    answers.set(`/manifests/${digest}`, { bytes, mediaType: MEDIA.manifest });
    await expect(walkImage(repository(), digest, AMD64)).rejects.toThrow(refusal('OCI_DIGEST_MISMATCH'));
    const other = configOf({ config: { User: '0000' } });
    answers.set(`/blobs/${digestOf(configOf())}`, { bytes: other });
    await expect(walk()).rejects.toThrow(refusal('OCI_TOO_LARGE'));
    answers.set(`/blobs/${digestOf(configOf())}`, { bytes: new Uint8Array(configOf().length) });
    await expect(walk()).rejects.toThrow(refusal('OCI_DIGEST_MISMATCH'));
    answers.set(`/blobs/${digestOf(configOf())}`, { bytes: configOf().slice(1) });
    await expect(walk()).rejects.toThrow(refusal('OCI_SIZE_MISMATCH'));
  });

  const manifests: [string, string, () => void][] = [
    [
      'whose media type is not the one it says',
      'OCI_MEDIA_TYPE',
      () => void serveManifest(imageOf(configOf(), { mediaType: MEDIA.index }), 'v1'),
    ],
    [
      'that is of schema 1',
      'OCI_MANIFEST',
      () => void serveManifest({ schemaVersion: 1, fsLayers: [] }, 'v1'),
    ],
    [
      'that comes as schema 1',
      'OCI_MEDIA_TYPE',
      () => void serveManifest(imageOf(), 'v1', 'application/vnd.docker.distribution.manifest.v1+json'),
    ],
    [
      'that has layers and manifests (CVE-2021-41190)',
      'OCI_MANIFEST',
      () => void serveManifest({ ...imageOf(), manifests: [] }, 'v1'),
    ],
    [
      'that names a digest with a path in it',
      'OCI_MANIFEST',
      () =>
        void serveManifest(
          imageOf(configOf(), {
            config: { ...described(MEDIA.config, configOf()), digest: 'sha256:../../x' },
          }),
          'v1',
        ),
    ],
    [
      'of 4 MiB and a byte',
      'OCI_TOO_LARGE',
      () => void serveManifest(new Uint8Array(4 * 1024 * 1024 + 1).fill(32), 'v1'),
    ],
    [
      'that is of an artifact',
      'OCI_MEDIA_TYPE',
      () => void serveManifest(imageOf(configOf(), { config: described(MEDIA.empty, utf8('{}')) }), 'v1'),
    ],
    [
      'whose layers are more than its configuration names',
      'OCI_CONFIG',
      () => void serveManifest(imageOf(configOf(), { layers: [] }), 'v1'),
    ],
    [
      'for another platform',
      'OCI_PLATFORM',
      () => {
        const config = configOf({ architecture: 'arm64' });
        serveImage(imageOf(config), config);
      },
    ],
  ];
  it.each(manifests)('by a manifest %s', async (_, code, serve) => {
    serve();
    await expect(walk()).rejects.toThrow(refusal(code));
  });

  it('when a layer unpacks to something else than the configuration names', async () => {
    const config = configOf({ rootfs: { type: 'layers', diff_ids: [digestOf(utf8('other'))] } });
    serveImage(imageOf(config), config);
    await expect(fileManifest(repository(), await walk())).rejects.toThrow(refusal('OCI_DIFF_ID_MISMATCH'));
    serveImage();
    await expect(fileManifest(repository(), await walk())).resolves.toMatchObject({ files: [] });
  });
});

describe('an index is refused', () => {
  const child = () => ({ ...described(MEDIA.manifest, json(imageOf())), platform: AMD64 });
  const index = (manifests: unknown[]) =>
    serveManifest({ schemaVersion: 2, mediaType: MEDIA.index, manifests }, 'v1', MEDIA.index);
  beforeEach(async () => {
    serveImage();
    index([child()]);
    await expect(walk()).resolves.toMatchObject({ manifest: { digest: child().digest } });
  });

  const indexes: [string, string, () => unknown[]][] = [
    ['that names two images for one platform', 'OCI_PLATFORM', () => [child(), child()]],
    [
      'that names none for this one',
      'OCI_PLATFORM',
      () => [{ ...child(), platform: { ...AMD64, os: 'plan9' } }],
    ],
    ['that says another size', 'OCI_SIZE_MISMATCH', () => [{ ...child(), size: child().size + 1 }]],
    [
      'that says another media type',
      'OCI_MEDIA_TYPE',
      () => [{ ...child(), mediaType: MEDIA.dockerManifest }],
    ],
    [
      'with more images than any has',
      'OCI_MANIFEST',
      () =>
        Array.from({ length: 300 }, (_, i) => ({
          ...child(),
          platform: { os: `os${i}`, architecture: 'x' },
        })),
    ],
  ];
  it.each(indexes)('%s', async (_, code, manifests) => {
    index(manifests());
    await expect(walk()).rejects.toThrow(refusal(code));
  });

  it('by who copies or builds it as by who runs it', async () => {
    const children = async () => childrenOf(repository(), await repository().manifest('v1'));
    expect((await children()).map(({ digest }) => digest)).toEqual([child().digest]);
    for (const [changes, code] of [
      [{ size: child().size + 1 }, 'OCI_SIZE_MISMATCH'],
      [{ mediaType: MEDIA.dockerManifest }, 'OCI_MEDIA_TYPE'],
    ] as const) {
      index([{ ...child(), ...changes }]);
      await expect(children()).rejects.toThrow(refusal(code));
    }
    const inner = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [child()] };
    index([{ ...serveManifest(inner, 'inner', MEDIA.index), platform: AMD64 }]);
    seen = [];
    await expect(children()).rejects.toThrow(refusal('OCI_MANIFEST'));
    // The index, and the one in it: not what that names.
    expect(seen).toHaveLength(2);
  });

  it('in an index, without following it', async () => {
    const inner = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [child()] };
    const nested = { ...serveManifest(inner, 'inner', MEDIA.index), platform: AMD64 };
    index([nested]);
    seen = [];
    await expect(walk()).rejects.toThrow(refusal('OCI_MANIFEST'));
    expect(seen).toHaveLength(2);
  });
});

describe('a list of referrers', () => {
  const subject = digestOf(utf8('an image'));
  const TYPE = 'application/x';
  const listing = (name: string) => ({ ...described(MEDIA.manifest, utf8(name)), artifactType: TYPE });
  const list = (...names: string[]) =>
    json({ schemaVersion: 2, mediaType: MEDIA.index, manifests: names.map(listing) });
  const referrers = () => repository().referrers(subject, TYPE);

  it('is read over its pages, and not without end', async () => {
    answers.set(`/referrers/${subject}`, {
      bytes: list('one'),
      headers: { link: `</v2/app/referrers/${subject}?page=2>; rel="next"` },
    });
    answers.set(`/referrers/${subject}?page=2`, { bytes: list('two') });
    expect(await referrers()).toHaveLength(2);
    answers.set(`/referrers/${subject}?page=2`, {
      bytes: list('two'),
      headers: { link: `</v2/app/referrers/${subject}?page=2>; rel="next"` },
    });
    seen = [];
    await expect(referrers()).rejects.toThrow(refusal('OCI_REFERRERS'));
    expect(seen).toHaveLength(16);
    // The last page that is asked for may be the last that there is.
    for (let page = 2; page <= 16; page++) {
      answers.set(`/referrers/${subject}?page=${page}`, {
        bytes: list(`${page}`),
        headers: page === 16 ? {} : { link: `</v2/app/referrers/${subject}?page=${page + 1}>; rel="next"` },
      });
    }
    expect(await referrers()).toHaveLength(16);
  });

  it('does not send its reader elsewhere', async () => {
    for (const next of [
      'http://other.example/v2/app/referrers/x',
      `/v2/other/referrers/${subject}`,
      'http://[',
    ]) {
      answers.set(`/referrers/${subject}`, {
        bytes: list('one'),
        headers: { link: `<${next}>; rel="next"` },
      });
      seen = [];
      expect(await referrers()).toHaveLength(1);
      expect(seen).toHaveLength(1);
    }
  });

  it('of one type that is flooded hides nothing of another', async () => {
    const flood = Array.from({ length: 300 }, (_, i) => listing(`junk ${i}`));
    const real = { ...listing('real'), artifactType: 'application/y' };
    const manifests = [...flood, real];
    answers.set(`/referrers/${subject}`, {
      bytes: json({ schemaVersion: 2, mediaType: MEDIA.index, manifests }),
    });
    seen = [];
    const listed = await repository().referrers(subject, TYPE, 'application/y');
    expect(seen).toHaveLength(1);
    expect(listed.filter(({ artifactType }) => artifactType === TYPE)).toHaveLength(300);
    expect(listed.filter(({ artifactType }) => artifactType === 'application/y')).toEqual([real]);
    expect(await repository().referrers(subject, 'application/z')).toEqual([]);
  });

  it('by its fallback tag must be an index', async () => {
    const tag = `/manifests/${subject.replace(':', '-')}`;
    answers.set(tag, { bytes: list('one'), mediaType: MEDIA.index });
    expect(await referrers()).toHaveLength(1);
    answers.set(tag, { bytes: json(imageOf()), mediaType: MEDIA.manifest });
    await expect(referrers()).rejects.toThrow(refusal('OCI_REFERRERS'));
  });

  it('names blobs of one layer, of this subject, and of its type only', () => {
    const blob = described(TYPE, utf8('a bundle'));
    const of = (digest: typeof subject) => ({ mediaType: MEDIA.manifest, digest, size: 1 });
    const manifest = (layers: (typeof blob)[], digest = subject) => ({ layers, subject: of(digest) });
    expect(referrerBlob(manifest([blob]), subject, TYPE)).toEqual(blob);
    expect(referrerBlob(manifest([]), subject, TYPE)).toBeUndefined();
    expect(referrerBlob(manifest([blob, blob]), subject, TYPE)).toBeUndefined();
    expect(referrerBlob(manifest([{ ...blob, mediaType: 'text/plain' }]), subject, TYPE)).toBeUndefined();
    expect(referrerBlob(manifest([blob], digestOf(utf8('other'))), subject, TYPE)).toBeUndefined();
    expect(referrerBlob({ layers: [blob] }, subject, TYPE)).toBeUndefined();
  });
});

describe('a blob whose length nobody said', () => {
  const bytes = utf8('what was signed');
  const content = (maxBytes = bytes.length) => repository().content(digestOf(bytes), maxBytes);

  it('is had by its digest, and is not there where there is none', async () => {
    await expect(content()).resolves.toBeUndefined();
    serveBlob(bytes);
    await expect(content()).resolves.toEqual(bytes);
  });

  it('is refused where it is longer than may be, is another, or can’t be had', async () => {
    serveBlob(bytes);
    await expect(content(bytes.length - 1)).rejects.toThrow(refusal('OCI_TOO_LARGE'));
    for (const other of [utf8('what was signeD'), bytes.slice(1), new Uint8Array()]) {
      serveBlob(other, bytes);
      await expect(content()).rejects.toThrow(refusal('OCI_DIGEST_MISMATCH'));
    }
    answers.set(`/blobs/${digestOf(bytes)}`, { status: 500 });
    await expect(content()).rejects.toThrow(refusal('OCI_REGISTRY'));
  });
});

describe('credentials', () => {
  const credentials = async () => ({ username: 'builder', password: 'secret' });
  it('go to the registry, and not to where it redirects', async () => {
    const elsewhere: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      elsewhere.push(request.headers.authorization);
      response.writeHead(200, { 'content-type': MEDIA.manifest }).end(json(imageOf()));
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    answers.set('/manifests/v1', { status: 401, headers: { 'www-authenticate': 'Basic realm="images"' } });
    answers.set('/manifests/v2', { status: 307, headers: { location: `http://127.0.0.1:${port}/m` } });
    const signedIn = new Repository({ registry: host, repository: 'app', credentials });
    await expect(signedIn.manifest('v1')).rejects.toThrow(refusal('OCI_DENIED'));
    await signedIn.manifest('v2');
    expect(seen.map(({ authorization }) => authorization?.slice(0, 6))).toEqual([
      undefined,
      'Basic ',
      'Basic ',
    ]);
    expect(elsewhere).toEqual([undefined]);
    other.closeAllConnections();
    await new Promise((resolve) => other.close(resolve));
  });
});

describe('an answer', () => {
  const manifest = (reference = 'v1') => repository().manifest(reference);
  const redirect = (from: string, location: string) =>
    answers.set(`/manifests/${from}`, { status: 307, headers: { location } });
  beforeEach(async () => {
    serveImage();
    redirect('near', '/v2/app/manifests/v1');
    await expect(manifest('near')).resolves.toMatchObject({ mediaType: MEDIA.manifest });
  });

  it('that redirects round and round, or to no address, is not followed', async () => {
    redirect('round', '/v2/app/manifests/round');
    seen = [];
    await expect(manifest('round')).rejects.toThrow(refusal('OCI_REGISTRY'));
    expect(seen).toHaveLength(6);
    for (const location of ['http://[', 'file:///etc/passwd', 'ftp://127.0.0.1/x']) {
      redirect('away', location);
      await expect(manifest('away')).rejects.toThrow(refusal('OCI_REGISTRY'));
    }
  });

  it('whose connection breaks is a registry that does not answer', async () => {
    answers.set('/manifests/cut', {
      mediaType: MEDIA.manifest,
      bytes: json(imageOf()),
      headers: { 'content-length': '100000' },
    });
    // The server waits for the bytes that it promised; somebody on the way ends the connection.
    setTimeout(() => server.closeAllConnections(), 200);
    await expect(manifest('cut')).rejects.toThrow(refusal('OCI_UNREACHABLE'));
    await expect(manifest()).resolves.toMatchObject({ mediaType: MEDIA.manifest });
  });

  it('that never ends is waited for a minute, and no longer', async () => {
    let begun = () => {};
    const drip = createServer((request, response) => {
      response.writeHead(200, { 'content-type': MEDIA.manifest });
      response.write(json(imageOf()));
      if (request.url?.endsWith('/whole')) response.end();
      else begun();
    });
    await new Promise<void>((resolve) => drip.listen(0, '127.0.0.1', resolve));
    const registry = `127.0.0.1:${(drip.address() as AddressInfo).port}`;
    const read = (name: string) => new Repository({ registry, repository: 'app' }).manifest(name);
    await expect(read('whole')).resolves.toMatchObject({ mediaType: MEDIA.manifest });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const dripping = new Promise<void>((resolve) => {
        begun = resolve;
      });
      let ended: unknown;
      const reading = read('drip').catch((error: unknown) => {
        ended = error;
      });
      await dripping;
      await vi.advanceTimersByTimeAsync(59_000);
      expect(ended).toBeUndefined();
      await vi.advanceTimersByTimeAsync(2000);
      await reading;
      const message = expect.stringContaining('does not answer (the time is up)');
      expect(ended).toMatchObject({ code: 'OCI_UNREACHABLE', message });
    } finally {
      vi.useRealTimers();
    }
    drip.closeAllConnections();
    await new Promise((resolve) => drip.close(resolve));
  });

  it('on a kept connection that the registry closed is asked for again', async () => {
    let asked = 0;
    const closing = createServer((request, response) => {
      // The second question on a connection finds it closed.
      if (++asked === 2) request.socket.destroy();
      else response.writeHead(200, { 'content-length': 2 }).end('ok');
    });
    await new Promise<void>((resolve) => closing.listen(0, '127.0.0.1', resolve));
    const { port } = closing.address() as AddressInfo;
    const url = new URL(`http://127.0.0.1:${port}/`);
    const ask = async (method: 'GET' | 'PUT') => {
      const answer = await exchange({ method, url, headers: {}, budgetMs: 5000 });
      await answer.drop();
      await new Promise((resolve) => setTimeout(resolve, 20));
      return answer.status;
    };
    expect([await ask('GET'), await ask('GET'), asked]).toEqual([200, 200, 3]);
    asked = 0;
    expect(await ask('GET')).toBe(200);
    // What stores something may have been done already: that is for the caller to find out.
    await expect(ask('PUT')).rejects.toMatchObject({ code: 'ECONNRESET' });
    closing.closeAllConnections();
    await new Promise((resolve) => closing.close(resolve));
  });

  it('that has come is dropped without its connection, which serves the next question', async () => {
    const answering = createServer((_, response) => void response.writeHead(404).end('none'));
    let connections = 0;
    answering.on('connection', () => connections++);
    await new Promise<void>((resolve) => answering.listen(0, '127.0.0.1', resolve));
    const { port } = answering.address() as AddressInfo;
    const url = new URL(`http://127.0.0.1:${port}/`);
    // It does not say how long it is: in chunks.
    for (let i = 0; i < 3; i++) {
      const answer = await exchange({ method: 'GET', url, headers: {}, budgetMs: 5000 });
      expect(answer.header('content-length')).toBeUndefined();
      await answer.drop();
    }
    expect(connections).toBe(1);
    answering.closeAllConnections();
    await new Promise((resolve) => answering.close(resolve));
  });
});
