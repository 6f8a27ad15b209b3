import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { digestOf, utf8 } from '@kallio/codec';
import { MEDIA, Repository } from '@kallio/oci';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ATTACHED_TYPES, askAhead, BUNDLE_MEDIA_TYPE, type SignedSource } from '../src/index.ts';

const manifest = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
const digest = digestOf(manifest);

describe('a source that is asked ahead', () => {
  let server: Server;
  let source: Repository;
  let asked: string[];
  /** Answers that wait for the test; undefined where each is given at once. */
  let waiting: (() => void)[] | undefined;

  beforeEach(async () => {
    asked = [];
    waiting = undefined;
    server = createServer((request, response) => {
      asked.push((request.url ?? '').replace('/v2/app', ''));
      const give = () => answer(response);
      if (waiting === undefined) give();
      else waiting.push(give);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    source = new Repository({ registry: `127.0.0.1:${port}`, repository: 'app' });
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const answer = (response: ServerResponse) =>
    void response.writeHead(200, { 'content-type': MEDIA.index }).end(manifest);
  const ahead = (reference: string): SignedSource => askAhead(source, reference);
  const seen = (count: number) => vi.waitFor(() => expect(asked).toHaveLength(count));
  const list = (of: SignedSource) => of.referrers(digest, ...ATTACHED_TYPES);

  test('is asked for manifest and list of a digest at once, and gives each once', async () => {
    waiting = [];
    const source = ahead(digest);
    await seen(2);
    expect(asked.toSorted()).toEqual([`/manifests/${digest}`, `/referrers/${digest}`]);
    for (const give of waiting) give();
    waiting = undefined;
    expect((await source.manifest(digest)).bytes).toEqual(manifest);
    expect(await list(source)).toEqual([]);
    expect(asked).toHaveLength(2);
    // As nobody says that it is still the same.
    await source.manifest(digest);
    await list(source);
    expect(asked).toHaveLength(4);
  });

  test('is asked for the manifest of a tag only, and later for all else', async () => {
    const source = ahead('v1');
    await seen(1);
    expect((await source.manifest('v2')).digest).toBe(digest);
    await source.referrers(digest, BUNDLE_MEDIA_TYPE);
    expect(asked).toEqual(['/manifests/v1', '/manifests/v2', `/referrers/${digest}`]);
    expect((await source.manifest('v1')).digest).toBe(digest);
    expect(asked).toHaveLength(3);
  });

  test('is asked anew for a list of other types, or of another subject', async () => {
    const source = ahead(digest);
    await seen(2);
    await source.referrers(digest, BUNDLE_MEDIA_TYPE);
    await source.referrers(digestOf(utf8('another')), ...ATTACHED_TYPES);
    expect(asked).toHaveLength(4);
    await list(source);
    expect(asked).toHaveLength(4);
  });

  test('tells what went wrong to who asks, and to nobody else', async () => {
    const unheard: unknown[] = [];
    const hear = (error: unknown) => void unheard.push(error);
    process.on('unhandledRejection', hear);
    try {
      waiting = [];
      const [source] = [ahead(digest), ahead(digest)];
      await seen(4);
      server.closeAllConnections();
      await new Promise((resolve) => setTimeout(resolve, 50));
      await expect(source.manifest(digest)).rejects.toMatchObject({ code: 'OCI_UNREACHABLE' });
      await expect(list(source)).rejects.toMatchObject({ code: 'OCI_UNREACHABLE' });
      waiting = undefined;
      expect((await source.manifest(digest)).digest).toBe(digest);
      expect(unheard).toEqual([]);
    } finally {
      process.off('unhandledRejection', hear);
    }
  });
});
