import { execFile } from 'node:child_process';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exchange } from '../src/http/exchange.ts';
import { Repository } from '../src/index.ts';

/* Connections that break, and whoever breaks them: in the middle, too early, half, or between two questions. */

/** What is done with each question that comes: its method, its path, and the bytes of it that came with its head. */
let answer: (socket: Socket, method: string, path: string, bytes: string) => unknown;
let server: Server;
let sockets: Set<Socket>;
/** Every question that was read, in order. */
let asked: string[];

async function listens(host: string): Promise<number> {
  sockets = new Set();
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('end', () => socket.end());
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1');
      const [, method, path] = /^([A-Z]+) (\S+) HTTP/.exec(text) ?? [];
      if (method === undefined || path === undefined) return;
      asked.push(`${method} ${path}`);
      void answer(socket, method, path, text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as AddressInfo).port;
}

let at: (path: string) => URL;
beforeEach(async () => {
  asked = [];
  const port = await listens('127.0.0.1');
  at = (path) => new URL(`http://127.0.0.1:${port}${path}`);
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

type Changes = Partial<Parameters<typeof exchange>[0]>;
const ask = (path: string, changes: Changes = {}) =>
  exchange({ method: 'GET', url: at(path), headers: {}, budgetMs: 5000, ...changes });
async function read(path: string, changes: Changes = {}) {
  const { status, body } = await ask(path, changes);
  let text = '';
  for await (const piece of body) text += Buffer.from(piece).toString('latin1');
  return { status, text };
}
const ok = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
const turn = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms));
describe('a connection that is reset', () => {
  it.each([
    ['before the answer', ''],
    ['in its first line', 'HTTP/1.1 2'],
    ['in its head', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['after its head', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n'],
    ['in its body', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod'],
    ['in a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbod'],
    ['before the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n'],
    ['in the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n'],
    ['in a body of no known length', 'HTTP/1.1 200 OK\r\n\r\nbody'],
  ])('%s gives no answer, and is not asked again', async (_, begun) => {
    answer = async (socket, _method, path) => {
      if (path === '/whole') return void socket.write(ok('body'));
      socket.write(begun);
      await turn(20);
      socket.resetAndDestroy();
    };
    await expect(read('/cut')).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(asked).toEqual(['GET /cut']);
    const registry = new Repository({ registry: at('/').host, repository: 'app' });
    await expect(registry.manifest('v1')).rejects.toMatchObject({ code: 'OCI_UNREACHABLE' });
    expect(await read('/whole')).toEqual({ status: 200, text: 'body' });
  });

  it('while something is sent ends the sending, and is not sent again', async () => {
    let ended = 0;
    async function* pieces() {
      try {
        for (let i = 0; i < 64; i++) yield new Uint8Array(64 * 1024);
      } finally {
        ended++;
      }
    }
    const body = () => ({ stream: pieces(), length: 4 << 20 });
    answer = async (socket, _method, path) => {
      socket.pause();
      await turn(20);
      if (path === '/cut') return void socket.resetAndDestroy();
      socket.resume().write(ok('stored'));
    };
    await expect(read('/cut', { method: 'PUT', body: body() })).rejects.toThrow(/ECONNRESET|EPIPE/);
    await vi.waitFor(() => expect([asked, ended]).toEqual([['PUT /cut'], 1]));
    expect((await read('/whole', { method: 'PUT', body: body() })).text).toBe('stored');
    await vi.waitFor(() => expect(ended).toBe(2));
  });
});

describe('a server', () => {
  it('that says no before all is sent, and no more, is heard', async () => {
    async function* pieces() {
      for (let i = 0; i < 64; i++) {
        yield new Uint8Array(64 * 1024);
        await turn(1);
      }
    }
    answer = (socket) => void socket.end('HTTP/1.1 401 Unauthorized\r\n\r\nwho are you?');
    const body = { stream: pieces(), length: 4 << 20 };
    expect(await read('/', { method: 'PUT', body })).toEqual({ status: 401, text: 'who are you?' });
  });

  it('is sent as much as was said, neither more nor less', async () => {
    const pieces = ['abc', 'GET /smuggled HTTP/1.1\r\n\r\n'];
    async function* stream() {
      for (const piece of pieces) yield Buffer.from(piece);
    }
    let came = '';
    answer = (socket, _method, _path, first) => {
      came = first;
      const takes = () => came.endsWith(pieces.join('')) && socket.write(ok('stored'));
      socket.on('data', (bytes) => {
        came += bytes.toString('latin1');
        takes();
      });
      takes();
    };
    const { length } = pieces.join('');
    const put = (said: number) => read('/', { method: 'PUT', body: { stream: stream(), length: said } });
    expect((await put(length)).text).toBe('stored');
    for (const other of [3, length - 1, length + 1]) {
      came = '';
      await expect(put(other)).rejects.toThrow('not as long as was said');
      await turn();
      // What is too much is not sent; of what is too little nobody is told that it is all.
      if (other < length) expect(came).not.toContain('smuggled');
    }
  });

  it('whose dropped answer never ends keeps no process from ending', async () => {
    answer = (socket, _method, path) =>
      void socket.write(`HTTP/1.1 404 Not Found\r\nContent-Length: ${path.length}\r\n\r\n/`);
    const program = `
      import { exchange } from ${JSON.stringify(import.meta.resolve('../src/http/exchange.ts'))};
      for (const path of ['/', '/endless']) {
        const url = new URL(path, ${JSON.stringify(at('/').href)});
        (await exchange({ method: 'GET', url, headers: {}, budgetMs: 60000 })).drop();
      }
      console.log('all said');`;
    const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      timeout: 15_000,
    });
    expect((await ended).stdout).toBe('all said\n');
    expect(asked).toEqual(['GET /', 'GET /endless']);
  });

  it('is reached by an address of IPv6', async () => {
    await new Promise((resolve) => server.close(resolve));
    const port = await listens('::1');
    answer = (socket) => void socket.end(ok('here'));
    at = (path) => new URL(`http://[::1]:${port}${path}`);
    expect((await read('/')).text).toBe('here');
  });

  it('is left again where there are more than are worth a connection', async () => {
    await new Promise((resolve) => server.close(resolve));
    const port = await listens('0.0.0.0');
    answer = (socket) => void socket.write(ok('here'));
    for (let i = 1; i <= 20; i++) {
      at = (path) => new URL(`http://127.0.0.${i}:${port}${path}`);
      expect((await read('/')).text).toBe('here');
    }
    await vi.waitFor(() => expect(sockets.size).toBe(16));
    // Who was asked last is kept.
    expect((await read('/')).text).toBe('here');
    expect(sockets.size).toBe(16);
  });

  it('that can’t be asked is told apart from others in a word', async () => {
    const { port } = at('/');
    const why = (registry: string) => new Repository({ registry, repository: 'app' }).manifest('v1');
    answer = (socket) => void socket.end('HTTP/1.1 200 OK\r\nX : y\r\n\r\n');
    await expect(why(`127.0.0.1:${port}`)).rejects.toThrow('a header of the answer is malformed');
    answer = (socket) => void socket.end();
    await expect(why(`127.0.0.1:${port}`)).rejects.toThrow('ECONNRESET');
    // Another one that it leads to is named.
    answer = (socket) =>
      void socket.end('HTTP/1.1 307 x\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n');
    await expect(why(`127.0.0.1:${port}`)).rejects.toThrow(
      `The registry 127.0.0.1:${port} leads to 127.0.0.1:1, which does not answer (ECONNREFUSED).`,
    );
    for (const registry of ['127.0.0.1:1', 'localhost:1']) {
      await expect(why(registry)).rejects.toThrow(`The registry ${registry} does not answer (ECONNREFUSED).`);
    }
    await expect(why('nobody.invalid')).rejects.toThrow(/\((ENOTFOUND|EAI_AGAIN)\)/);
  });

  it('gives each question its own answer, and gets none twice that could do something, whatever it does', async () => {
    /** What a server does about one question; and what is done with its answer. */
    const deeds = [
      'keeps',
      'chunks',
      'closes',
      'resets',
      'adds',
      'adds late',
      'silently closes',
      'hangs up later',
    ];
    const steps = fc.array(
      fc.record({
        method: fc.constantFrom('GET', 'GET', 'HEAD', 'POST'),
        deed: fc.constantFrom(...deeds),
        wish: fc.constantFrom('read', 'drop', 'break'),
        pause: fc.boolean(),
      }),
      { minLength: 2, maxLength: 8 },
    );
    answer = (socket, method, path) => {
      const deed = decodeURIComponent(path.split('/')[2] ?? '');
      const text = method === 'HEAD' ? '' : path;
      const whole = `HTTP/1.1 200 OK\r\nX-Path: ${path}\r\nContent-Length: ${path.length}\r\n\r\n${text}`;
      if (deed === 'silently closes') return void socket.end();
      if (deed === 'resets') return void socket.resetAndDestroy();
      if (deed === 'closes') return void socket.end(whole);
      if (deed === 'chunks' && method !== 'HEAD') {
        const lines = [...path].map((letter) => `1\r\n${letter}\r\n`).join('');
        return void socket.write(
          `HTTP/1.1 200 OK\r\nX-Path: ${path}\r\nTransfer-Encoding: chunked\r\n\r\n${lines}0\r\n\r\n`,
        );
      }
      socket.write(deed === 'adds' ? whole + ok('forged') : whole);
      if (deed === 'adds late') setImmediate(() => socket.write(ok('forged')));
      if (deed.startsWith('adds')) added = socket;
      if (deed === 'hangs up later') setImmediate(() => socket.resetAndDestroy());
    };
    let [run, answered, failed] = [0, 0, 0];
    let added: Socket | undefined;
    const property = fc.asyncProperty(steps, async (all) => {
      run++;
      for (const socket of sockets) socket.destroy();
      await turn();
      added = undefined;
      for (const [i, { method, deed, wish, pause }] of all.entries()) {
        const path = `/${run}-${i}/${encodeURIComponent(deed)}`;
        try {
          const got = await ask(path, { method: method as 'GET' });
          expect(got.header('x-path')).toBe(path);
          let text = '';
          if (wish === 'drop') got.drop();
          else
            for await (const piece of got.body) {
              text += Buffer.from(piece).toString('latin1');
              if (wish === 'break') break;
            }
          if (wish === 'read') expect(text).toBe(method === 'HEAD' ? '' : path);
          answered++;
        } catch (error) {
          if (!(error instanceof Error && 'code' in error)) throw error;
          expect(error.code).toBe('ECONNRESET');
          failed++;
        }
        if (pause) await turn();
        // Where it adds something to an answer it is hung up on. What comes with the next question nobody could tell apart.
        while (added !== undefined && sockets.has(added)) await turn(1);
        const times = asked.filter((one) => one === `${method} ${path}`).length;
        expect(times).toBeLessThanOrEqual(method === 'POST' ? 1 : 2);
      }
    });
    await fc.assert(property, { numRuns: 60 });
    expect(Math.min(answered, failed)).toBeGreaterThan(20);
  });
});
