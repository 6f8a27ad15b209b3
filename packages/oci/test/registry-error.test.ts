import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { utf8 } from '@kallio/codec';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA, Repository } from '../src/index.ts';

/* What a registry says when it does not do what it is asked. */

const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
const UNKNOWN = { errors: [{ code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown to registry' }] };

let server: Server;
let repository: Repository;
/** What it answers, one after another; the last again and again. */
let answers: (readonly [status: number, body: object | string])[];
let asked: number;

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    const [status, body] = answers[Math.min(asked++, answers.length - 1)] ?? [500, ''];
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  repository = new Repository({ registry: `127.0.0.1:${port}`, repository: 'app' });
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
beforeEach(() => {
  asked = 0;
});

const push = () => repository.pushManifest(index, MEDIA.index, 'v1');

async function messageOf(status: number, body: object | string): Promise<string> {
  asked = 0;
  answers = [[status, body]];
  return push().then(
    () => '',
    (error: Error) => error.message,
  );
}

describe('a registry’s refusal', () => {
  it('is told on in its own words', async () => {
    const errors = [
      { code: 'TAG_INVALID', message: 'this tag is kept', detail: { tag: 'v1' } },
      { code: 'TOOMANYREQUESTS' },
    ];
    expect(await messageOf(429, { errors })).toMatch(
      /answered 429 when asked to store a manifest: TAG_INVALID \(this tag is kept\), TOOMANYREQUESTS\.$/,
    );
    expect(asked).toBe(1);
  });

  it('of somebody who may not says so', async () => {
    answers = [[403, { errors: [{ code: 'DENIED', message: 'read only' }] }]];
    await expect(push()).rejects.toMatchObject({
      code: 'OCI_DENIED',
      message: expect.stringContaining('DENIED (read only)'),
    });
  });

  it('is told on in one line, and not endlessly', async () => {
    const shown = await messageOf(400, {
      errors: [{ code: 'DENIED', message: '\n\u001b[2JVERIFIED\u202e' }],
    });
    expect(shown).toContain('DENIED (\\u000a\\u001b[2JVERIFIED\\u202e)');
    const many = Array.from({ length: 99 }, () => ({ code: 'DENIED', message: 'x'.repeat(150) }));
    expect((await messageOf(400, { errors: many.slice(0, 50) })).length).toBeLessThan(1000);
    expect(await messageOf(400, { errors: [{ code: 'DENIED', message: 'x'.repeat(20_000) }] })).toMatch(
      /manifest\.$/,
    );
  });

  it('is one too where its words are none', async () => {
    const pages = [
      '',
      '<html>',
      '[]',
      '{}',
      '{"errors":[{"code":"no code"}]}',
      '{"errors":[]}',
      '{"errors":',
    ];
    for (const page of pages)
      expect(await messageOf(502, page)).toMatch(/answered 502 when asked to store a manifest\.$/);
  });
});

describe('blobs that a registry for a moment doesn’t know', () => {
  it('are waited for', async () => {
    answers = [
      [404, UNKNOWN],
      [400, UNKNOWN],
      [201, ''],
    ];
    await push();
    expect(asked).toBe(3);
  });

  it('and not for ever; what is refused otherwise is so at once', async () => {
    answers = [[400, UNKNOWN]];
    await expect(push()).rejects.toMatchObject({
      code: 'OCI_REGISTRY',
      message: expect.stringContaining('MANIFEST_BLOB_UNKNOWN'),
    });
    expect(asked).toBe(6);
    asked = 0;
    answers = [
      [400, { errors: [{ code: 'MANIFEST_INVALID' }] }],
      [201, ''],
    ];
    await expect(push()).rejects.toMatchObject({ code: 'OCI_REGISTRY' });
    expect(asked).toBe(1);
  });
});
