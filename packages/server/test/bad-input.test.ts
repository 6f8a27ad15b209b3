import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestServer, testServer } from './fixture-server.ts';

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly code: unknown;
}

let server: TestServer;
let routes: [method: string, path: string][];
/** Routes that the admin token of these requests may not call. */
let attestersOnly: Set<string>;

beforeAll(async () => {
  server = await testServer();
  const document = JSON.parse(Buffer.from(await server.client().raw('GET', '/openapi.json')).toString());
  const operations = Object.entries<object>(document.paths).flatMap(([path, methods]) =>
    Object.entries<{ description?: string }>({ ...methods }).map(([method, { description }]) => ({
      method: method.toUpperCase(),
      path,
      description,
    })),
  );
  routes = operations.map(({ method, path }) => [method, path]);
  attestersOnly = new Set(
    operations
      .filter(({ description }) => description === 'May be called by: attester.')
      .map(({ method, path }) => `${method} ${path}`),
  );
});
afterAll(() => server.stop());

/** A request as no well-behaved client sends it. */
function send(
  method: string,
  path: string,
  body?: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      server.url + path,
      {
        method,
        ca: server.ca,
        agent: false,
        headers: { authorization: `Bearer ${server.adminToken}`, ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          resolve({ status: response.statusCode ?? 0, text, code: codeOf(text) });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function codeOf(text: string): unknown {
  try {
    return JSON.parse(text).error?.code;
  } catch {
    return undefined;
  }
}

/** A refusal with a code, and nothing of the inside. */
function expectRefusal(answer: Answer, what: string): void {
  expect(answer.status, what).toBeGreaterThanOrEqual(400);
  expect(answer.status, `${what}: ${answer.text}`).toBeLessThan(500);
  expect(String(answer.code), `${what}: ${answer.text}`).toMatch(/^[A-Z][A-Z0-9_]+$/);
  expect(answer.text, what).not.toMatch(/node_modules|\.ts:\d|\bat \w+ \(/);
}

const json = { 'content-type': 'application/json' };
const withBody = () => routes.filter(([method]) => method === 'POST' || method === 'PUT');
const filled = (path: string) => path.replace(/\{[^}]+\}/g, 'x').replace('*', 'x');

describe('every route', () => {
  it('is known to this test by the server’s own description', () => {
    expect(routes.length).toBeGreaterThan(25);
    expect(withBody().length).toBeGreaterThan(10);
  });

  it.each([
    ['no JSON', '{', 'JSON_SYNTAX'],
    ['a key twice', '{"a":1,"a":2}', 'JSON_DUPLICATE_KEY'],
    ['bytes after the value', '{} {}', 'JSON_SYNTAX'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'CODEC_UTF8'],
    ['nesting without end', '['.repeat(10_000), 'JSON_TOO_DEEP'],
  ])('refuses a body of %s', async (_, body, code) => {
    for (const [method, path] of withBody()) {
      const answer = await send(method, filled(path), body, json);
      expectRefusal(answer, `${method} ${path}`);
      const what = `${method} ${path}`;
      expect(answer.code, what).toBe(attestersOnly.has(what) ? 'FORBIDDEN' : code);
    }
  });

  it('refuses a body of the wrong shape, an empty one, and one of another type', async () => {
    for (const [method, path] of withBody()) {
      const what = `${method} ${path}`;
      expectRefusal(await send(method, filled(path), '{"unknown":true}', json), what);
      expectRefusal(await send(method, filled(path), '', json), what);
      expectRefusal(await send(method, filled(path), 'a=b', { 'content-type': 'text/plain' }), what);
    }
  });

  it('refuses parameters that are none', async () => {
    for (const [method, path] of routes.filter(([, p]) => p.includes('{'))) {
      for (const value of ['%00', '%2e%2e%2f', 'A'.repeat(300), '-1', '%ff']) {
        const at = path.replace(/\{[^}]+\}/g, value).replace('*', value);
        expectRefusal(
          await send(method, at, method === 'POST' || method === 'PUT' ? '{}' : undefined, json),
          `${method} ${at}`,
        );
      }
    }
  });

  it('refuses an attester’s business to people, and everything but the public to nobody', async () => {
    const seen = new Map<string, unknown>();
    for (const [method, path] of routes) {
      const answer = await send(method, filled(path), undefined, { authorization: 'Basic eA==' });
      seen.set(`${method} ${path}`, answer.code);
      // Documents for everybody, whatever is offered with the question.
      const forAll = path === '/openapi.json' || path === '/.well-known/jwks.json';
      if (!forAll) expect(answer.status, path).not.toBe(200);
    }
    expect(seen.get('GET /v1/stream')).toBe('UNAUTHENTICATED');
    expect((await send('GET', '/v1/stream')).code).toBe('FORBIDDEN');
    expect((await send('POST', '/v1/sessions', '{"purpose":"image-build"}', json)).code).toBe('FORBIDDEN');
  });

  it('reads no body of who may not call', async () => {
    const nobody = { ...json, authorization: `Bearer kallio_token_${'A'.repeat(43)}` };
    for (const [method, path] of withBody()) {
      const answer = await send(method, filled(path), '{', nobody);
      expect(answer.code, `${method} ${path}`).toBe('UNAUTHENTICATED');
    }
  });

  it('refuses a body over its limit', async () => {
    const answer = await send('POST', '/v1/enrolments', `{"attester":"${'a'.repeat(256 * 1024)}"}`, json);
    expect(answer).toMatchObject({ status: 413, code: 'REQUEST_TOO_LARGE' });
  });
});

describe('addresses that are no route', () => {
  it.each([
    '/',
    '/v1',
    '/v1/nothing',
    '/v1/log/tile/0/../../config.json',
    '/..%2f..%2fetc/passwd',
    '/v1/status/',
  ])('are answered with a code: %s', async (path) => {
    expectRefusal(await send('GET', path), path);
  });

  it('and a body that no length announces', async () => {
    expectRefusal(await send('DELETE', '/v1/tokens/x', '{}', json), 'DELETE with a stray body');
  });

  it('and methods that are none', async () => {
    for (const method of ['PATCH', 'TRACE', 'OPTIONS'])
      expectRefusal(await send(method, '/v1/status'), method);
  });
});
