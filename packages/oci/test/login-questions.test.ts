import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { digestOf, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA, Repository } from '../src/index.ts';
import type { FindCredentials } from '../src/login/credentials.ts';

/*
 * Several questions to a registry that wants to know who asks: at once, and one after another while tokens are taken back,
 * a realm refuses or breaks off, or a program with the password fails. Beside each stands what goes well.
 */

const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
const blob = { digest: digestOf(index), size: index.length };
const builder: FindCredentials = async () => ({ username: 'builder', password: 'secret' });
const refusal = (code: string) => expect.objectContaining({ code });

let registry: Server;
let elsewhere: Server;
let host: string;
/** What the registry and the other server were asked, with which credentials. */
let came: string[];
/** The scopes that the realm was asked for. */
let scopes: (string | null)[];
/** Tokens that the registry takes no more. */
let takenBack: Set<string>;
let challenge: string;
/** What the realm answers; the number of the token and its scope are given. */
let realm: (response: ServerResponse, scope: string, count: number) => unknown;
/** What the registry answers to whom it knows, before anything else; undefined for nothing else. */
let first: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;

const portOf = (server: Server) => (server.address() as AddressInfo).port;
const give = (response: ServerResponse, token: string) => response.end(JSON.stringify({ token }));

function answer(request: IncomingMessage, response: ServerResponse): unknown {
  const { method = '', url = '', headers } = request;
  request.resume();
  const { pathname, searchParams } = new URL(url, 'http://registry');
  if (pathname === '/token') {
    const scope = searchParams.get('scope');
    scopes.push(scope);
    return realm(response, scope ?? '', scopes.length);
  }
  const shown = headers.authorization;
  came.push(`${method} ${pathname} ${shown}`);
  if (first?.(request, response)) return;
  if (shown === undefined || takenBack.has(shown)) {
    return response.writeHead(401, { 'www-authenticate': challenge }).end();
  }
  if (method === 'HEAD') return response.writeHead(404).end();
  if (method === 'POST') return response.writeHead(202, { location: '/v2/app/blobs/uploads/1' }).end();
  if (method === 'PUT') return response.writeHead(201).end();
  return response.writeHead(200, { 'content-type': MEDIA.index }).end(index);
}

beforeAll(async () => {
  registry = createServer(answer);
  elsewhere = createServer(({ headers }, response) => {
    came.push(`elsewhere ${headers.authorization}`);
    response.writeHead(307, { location: `http://${host}/v2/secret/manifests/v1` }).end();
  });
  for (const one of [registry, elsewhere])
    await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${portOf(registry)}`;
});
afterAll(async () => {
  for (const one of [registry, elsewhere]) {
    one.closeAllConnections();
    await new Promise((resolve) => one.close(resolve));
  }
});
beforeEach(() => {
  came = [];
  scopes = [];
  takenBack = new Set();
  first = undefined;
  challenge = `Bearer realm="http://${host}/token"`;
  realm = (response, _, count) => give(response, `t${count}`);
});

const app = (credentials: FindCredentials | undefined = builder) =>
  new Repository({ registry: host, repository: 'app', credentials });
const nobody = () => new Repository({ registry: host, repository: 'app' });
/** A blob as it is pushed without being held; whether it was asked for, and left. */
function streamed() {
  const source = { opened: false, closed: false };
  async function* pieces() {
    source.opened = true;
    try {
      yield index.subarray(0, 5);
      yield index.subarray(5);
    } finally {
      source.closed = true;
    }
  }
  return { source, open: async () => pieces() };
}

describe('questions that are asked at once', () => {
  it('have one new token made where one is taken back', async () => {
    const repository = app();
    await repository.manifest('v1');
    expect(scopes).toHaveLength(1);
    takenBack.add('Bearer t1');
    // All are refused before there is another.
    let waiting = 8;
    const refused = new Promise<void>((resolve) => {
      first = ({ headers }) => {
        if (headers.authorization === 'Bearer t1' && --waiting === 0) resolve();
        return false;
      };
    });
    realm = (response, _, count) => void refused.then(() => give(response, `t${count}`));
    await Promise.all(Array.from({ length: 8 }, () => repository.manifest('v1')));
    expect(scopes).toHaveLength(2);
    expect(came.filter((one) => one.endsWith('Bearer t2'))).toHaveLength(8);
  });

  it('do not share the refusal of one who would do more', async () => {
    const repository = app();
    let push: Promise<unknown> = Promise.resolve();
    const writer = await new Promise<ServerResponse>((resolve) => {
      realm = (response, scope, count) =>
        scope.endsWith('pull,push') ? resolve(response) : give(response, `t${count}`);
      push = repository.pushManifest(index, MEDIA.index, 'v1');
    });
    // The writer's token is still being made.
    await expect(repository.manifest('v1')).resolves.toMatchObject({ mediaType: MEDIA.index });
    writer.writeHead(403).end();
    await expect(push).rejects.toThrow(refusal('OCI_DENIED'));
    expect(scopes).toEqual(['repository:app:pull,push', 'repository:app:pull']);
  });

  it('are all refused where the realm is away, and go well once it is there', async () => {
    const repository = app();
    realm = (response) => response.writeHead(503).end();
    const refused = await Promise.allSettled(Array.from({ length: 8 }, () => repository.manifest('v1')));
    for (const one of refused) expect(one).toMatchObject({ reason: { code: 'OCI_REGISTRY' } });
    realm = (response, _, count) => give(response, `t${count}`);
    await Promise.all(Array.from({ length: 8 }, () => repository.manifest('v1')));
  });
});

describe('a realm that breaks off', () => {
  it('does not answer, whatever it began to say', async () => {
    const repository = app();
    for (const begun of ['', '{"token":"t']) {
      realm = (response) => {
        response.writeHead(200, { 'content-length': 99 }).flushHeaders();
        response.write(begun, () => response.destroy());
      };
      await expect(repository.manifest('v1')).rejects.toThrow(refusal('OCI_UNREACHABLE'));
    }
    realm = (response) => give(response, 't');
    await repository.manifest('v1');
  });
});

describe('credentials', () => {
  it('are looked for again where that failed once', async () => {
    let asked = 0;
    const repository = app(async (...of) => {
      if (++asked === 1) throw new Error('the helper does not answer');
      return builder(...of);
    });
    await expect(repository.manifest('v1')).rejects.toThrow('the helper does not answer');
    await repository.manifest('v1');
    await repository.pushManifest(index, MEDIA.index, 'v1');
    expect(asked).toBe(2);
  });

  it('that are wanted of who writes are not of who reads', async () => {
    challenge = 'Basic realm="images"';
    first = ({ method }, response) => {
      if (method === 'GET') response.writeHead(200, { 'content-type': MEDIA.index }).end(index);
      return method === 'GET';
    };
    const repository = nobody();
    await expect(repository.pushManifest(index, MEDIA.index, 'v1')).rejects.toThrow(refusal('OCI_DENIED'));
    await expect(repository.manifest('v1')).resolves.toMatchObject({ mediaType: MEDIA.index });
    await app().pushManifest(index, MEDIA.index, 'v1');
  });

  it('are not shown on the way back from elsewhere', async () => {
    const repository = app();
    await repository.manifest('v1');
    came = [];
    let to = `http://${host}/v2/app/manifests/moved`;
    first = ({ url }, response) => {
      if (url?.endsWith('/v1')) response.writeHead(307, { location: to }).end();
      return url?.endsWith('/app/manifests/v1') ?? false;
    };
    // Within the registry they are.
    await repository.manifest('v1');
    to = `http://127.0.0.1:${portOf(elsewhere)}/there`;
    first = ({ url }, response) => {
      const here = url === '/v2/app/manifests/v1';
      if (here) response.writeHead(307, { location: to }).end();
      return here;
    };
    await expect(repository.manifest('v1')).rejects.toThrow(refusal('OCI_DENIED'));
    expect(came).toEqual([
      'GET /v2/app/manifests/v1 Bearer t1',
      'GET /v2/app/manifests/moved Bearer t1',
      'GET /v2/app/manifests/v1 Bearer t1',
      'elsewhere undefined',
      'GET /v2/secret/manifests/v1 undefined',
    ]);
  });
});

describe('a blob that is sent as it comes', () => {
  it('is sent once its sender is known, and once only', async () => {
    const { source, open } = streamed();
    await app().pushStream(blob, open);
    expect(came.at(-1)).toBe('PUT /v2/app/blobs/uploads/1 Bearer t2');
    expect(source).toEqual({ opened: true, closed: true });
  });

  it('is refused where the token is taken back meanwhile', async () => {
    const takeBack = ({ method, headers }: IncomingMessage) => {
      if (method === 'PUT') {
        takenBack.add(headers.authorization ?? '');
        first = undefined;
      }
      return false;
    };
    first = takeBack;
    const repository = app();
    await expect(repository.pushStream(blob, streamed().open)).rejects.toThrow(refusal('OCI_DENIED'));
    expect(came.filter((one) => one.startsWith('PUT'))).toHaveLength(1);
    // What can be sent again is.
    came = [];
    first = takeBack;
    await repository.pushBlob(index);
    expect(came.filter((one) => one.startsWith('PUT'))).toHaveLength(2);
  });
});
