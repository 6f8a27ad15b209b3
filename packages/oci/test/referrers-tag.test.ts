import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { digestOf, type Json, parseJson, utf8 } from '@kallio/codec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA, Repository } from '../src/index.ts';

/* The list of referrers where a registry has no referrers API: a tag that everybody writes, of which the last write holds. A
   real registry under many writers is in real-image.test.ts; this one has the ill luck that seldom comes by itself. */

const TYPE = 'application/x';
const subject = digestOf(utf8('an image'));
const TAG = `/v2/app/manifests/${subject.replace(':', '-')}`;

let server: Server;
let list: Uint8Array | undefined;
let writes: number;
/** What happens to a write of the list, by its number from 1: kept as it is, later, or not at all. */
let write: (n: number, bytes: Uint8Array) => Promise<void>;
/** What is answered to who reads the list, instead. */
let lapses: number;
const keep = async (_: number, bytes: Uint8Array) => {
  list = bytes;
};
beforeEach(async () => {
  [list, writes, write, lapses] = [undefined, 0, keep, 0];
  server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    if (request.method === 'PUT') {
      if (request.url === TAG) await write(++writes, new Uint8Array(Buffer.concat(pieces)));
      response.writeHead(201).end();
    } else if (request.url === TAG && lapses-- > 0) response.writeHead(500).end();
    else if (request.url === TAG && list !== undefined) {
      response.writeHead(200, { 'content-type': MEDIA.index }).end(list);
    } else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const writer = () =>
  new Repository({ registry: `127.0.0.1:${(server.address() as AddressInfo).port}`, repository: 'app' });
const nameOf = (name: string) => digestOf(utf8(name));
const push = (to: Repository, name: string) =>
  to.pushReferrer(utf8(name), subject, { mediaType: MEDIA.manifest, artifactType: TYPE });
/** One writer that pushes something, and is done. */
const pushed = async (name: string) => {
  const to = writer();
  await push(to, name);
  await to.settle();
};
const listed = async () => (await writer().referrers(subject, TYPE)).map(({ digest }) => digest);
const refusal = (code: string) => expect.objectContaining({ code });
const entryOf = (name: string) => ({
  mediaType: MEDIA.manifest,
  digest: nameOf(name),
  size: 1,
  artifactType: TYPE,
});
const listOf = (manifests: object[], more: object = {}) =>
  utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests, ...more }));

describe('a list that others write at the same time', () => {
  const late = (...late: readonly number[]) => {
    write = async (n, bytes) => {
      if (late.includes(n)) await wait(150);
      list = bytes;
    };
  };

  it.each([
    ['alike', []],
    ['the first late', [1]],
    ['the second late', [2]],
    ['both late', [1, 2]],
    ['all late', [1, 2, 3, 4, 5, 6]],
  ])('keeps the entries of two writers: %s', async (_, which) => {
    late(...which);
    await Promise.all([pushed('a'), pushed('b')]);
    expect(new Set(await listed())).toEqual(new Set([nameOf('a'), nameOf('b')]));
  });

  it('keeps all entries of many writers, each of several', async () => {
    list = listOf([entryOf('before')]);
    const several = async (writerName: string) => {
      const to = writer();
      for (const name of ['1', '2', '3']) await push(to, `${writerName}${name}`);
      await to.settle();
    };
    const writers = ['a', 'b', 'c', 'd', 'e', 'f'];
    await Promise.all(writers.map(several));
    const all = ['before', ...writers.flatMap((name) => [`${name}1`, `${name}2`, `${name}3`])];
    expect(new Set(await listed())).toEqual(new Set(all.map(nameOf)));
  });

  it('keeps the entries of one writer who pushes several at once', async () => {
    const to = writer();
    await Promise.all(['a', 'b', 'c', 'd'].map((name) => push(to, name)));
    await to.settle();
    expect(new Set(await listed())).toEqual(new Set(['a', 'b', 'c', 'd'].map(nameOf)));
  });

  it('is settled before the tag of an image moves', async () => {
    const to = writer();
    await push(to, 'a');
    // Another, who read the list before, writes it now.
    list = listOf([entryOf('b')]);
    await to.pushManifest(utf8('{}'), MEDIA.manifest, 'v1');
    expect(new Set(await listed())).toEqual(new Set([nameOf('a'), nameOf('b')]));
  });

  it('is left as it is once it is settled: who takes an entry away later means to', async () => {
    const to = writer();
    await push(to, 'a');
    await to.settle();
    list = listOf([]);
    await push(to, 'b');
    await to.settle();
    expect(await listed()).toEqual([nameOf('b')]);
  });

  it('is not written where everything is there', async () => {
    await pushed('a');
    await pushed('a');
    expect(writes).toBe(1);
  });

  it('is read again while its tag is just being replaced', async () => {
    list = listOf([entryOf('before')]);
    lapses = 3;
    await pushed('a');
    lapses = 3;
    expect(await listed()).toHaveLength(2);
    lapses = 1000;
    await expect(listed()).rejects.toThrow(refusal('OCI_REGISTRY'));
    await expect(pushed('b')).rejects.toThrow(refusal('OCI_REGISTRY'));
    lapses = 0;
    expect(await listed()).toHaveLength(2);
  });
});

describe('a list of somebody else', () => {
  const foreign = {
    annotations: { 'org.example.kept-by': 'others' },
    'org.example.unknown': { deep: [1, 'two', null] },
  };
  const theirs = {
    ...entryOf('theirs'),
    urls: ['https://example.org'],
    platform: { os: 'linux', architecture: 'amd64', 'os.version': '12' },
    data: 'e30=',
  };
  const parsed = () => parseJson(list ?? new Uint8Array()) as { [key: string]: Json };

  it('keeps everything that it says, known or not', async () => {
    list = listOf([theirs], foreign);
    await pushed('a');
    expect(parsed()).toEqual({
      schemaVersion: 2,
      mediaType: MEDIA.index,
      ...foreign,
      manifests: [theirs, { ...entryOf('a'), size: 1 }],
    });
  });

  it('that names the entry as of another type is put right', async () => {
    list = listOf([{ ...entryOf('a'), artifactType: 'application/other' }, theirs]);
    await pushed('a');
    expect(new Set(await listed())).toEqual(new Set([nameOf('theirs'), nameOf('a')]));
    expect(parsed().manifests).toHaveLength(2);
  });

  it('that is no index is left alone', async () => {
    const manifest = { config: entryOf('config'), layers: [], manifests: undefined };
    for (const [bytes, code] of [
      [utf8('{}'), 'OCI_MANIFEST'],
      [listOf([], manifest), 'OCI_MANIFEST'],
      [utf8('no json'), 'JSON_SYNTAX'],
      [listOf([], { mediaType: MEDIA.manifest }), 'OCI_MEDIA_TYPE'],
    ] as const) {
      list = bytes;
      await expect(pushed('a')).rejects.toThrow(refusal(code));
      expect([writes, list]).toEqual([0, bytes]);
    }
    list = listOf([]);
    await pushed('a');
    expect(await listed()).toEqual([nameOf('a')]);
  });

  it('that is full gets no entry more, and stays as it is', async () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => entryOf(`${i}`));
    const full = listOf(many(4096));
    list = full;
    await expect(pushed('a')).rejects.toThrow(refusal('OCI_REFERRERS'));
    expect([writes, list]).toEqual([0, full]);
    const filled = (room: number) => {
      const length = listOf([theirs], { annotations: { x: '' } }).length;
      return listOf([theirs], { annotations: { x: 'x'.repeat(4 * 1024 * 1024 - length - room) } });
    };
    const long = filled(100);
    list = long;
    await expect(pushed('a')).rejects.toThrow(refusal('OCI_REFERRERS'));
    expect([writes, list]).toEqual([0, long]);
    for (const [roomy, length] of [
      [filled(300), 2],
      [listOf(many(4095)), 4096],
    ] as const) {
      list = roomy;
      await pushed('a');
      expect(await listed()).toHaveLength(length);
    }
  });
});

describe('a registry that keeps nothing', () => {
  it('is given up after a while: it never has an entry', async () => {
    write = async () => undefined;
    await expect(pushed('a')).rejects.toThrow(refusal('OCI_REFERRERS'));
    expect(writes).toBe(8);
    write = keep;
    await pushed('a');
    expect(await listed()).toEqual([nameOf('a')]);
  });

  it('is given up after a while: each entry is there, and then is not', async () => {
    write = async (_, bytes) => {
      list = bytes;
      setTimeout(() => {
        list = undefined;
      }, 100);
    };
    const to = writer();
    await push(to, 'a');
    await expect(to.settle()).rejects.toThrow(refusal('OCI_REFERRERS'));
    expect(writes).toBe(9);
    write = keep;
    await to.settle();
    expect(await listed()).toEqual([nameOf('a')]);
  });
});
