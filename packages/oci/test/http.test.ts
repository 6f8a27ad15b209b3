import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { exchange } from '../src/http/exchange.ts';
import { bodyReader } from '../src/http/framing.ts';
import { type Framing, parseHead } from '../src/http/head.ts';
import { Repository } from '../src/index.ts';

/* HTTP/1.1 as registries speak it, and as who sits before one could: byte by byte. */

const head = (...lines: string[]) => ['HTTP/1.1 200 OK', ...lines].join('\r\n');

describe('the head of an answer', () => {
  it.each([
    ['with nothing in it', head(), { status: 200, framing: 'connection', keeps: false }],
    ['with a length', head('Content-Length: 12'), { framing: 12, keeps: true }],
    ['in chunks', head('Transfer-Encoding: Chunked'), { framing: 'chunked', keeps: true }],
    ['that ends the connection', head('Content-Length: 1', 'Connection: x, Close'), { keeps: false }],
    ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 1', { framing: 1, keeps: false }],
    ['without a reason', 'HTTP/1.1 404 \r\nContent-Length: 0', { status: 404, framing: 0 }],
    ['without a space for it', 'HTTP/1.1 404\r\nContent-Length: 0', { status: 404, framing: 0 }],
    ['that has no body', 'HTTP/1.1 204 No Content', { framing: 0, keeps: true }],
  ])('%s is read', (_, text, expected) => {
    expect(parseHead(text, 'GET')).toMatchObject(expected);
  });

  it('keeps all of a value but spaces and tabs around it', () => {
    // In UTF-8 the last letter ends like a no-break space.
    const { headers } = parseHead(head('X: \t caf\xc3\xa0 \t', `Y:${' '.repeat(16_000)}`), 'GET');
    expect([...headers.values()]).toEqual(['caf\xc3\xa0', '']);
  });

  it('joins what is said twice, and knows no case of names', () => {
    const { headers } = parseHead(head('Link: <a>', 'LINK:\t<b> ', 'X:'), 'GET');
    expect([...headers]).toEqual([
      ['link', '<a>, <b>'],
      ['x', ''],
    ]);
  });

  it('has no body where none was asked for', () => {
    expect(parseHead(head('Content-Length: 12'), 'HEAD')).toMatchObject({ framing: 0, keeps: true });
    expect(parseHead(head('Content-Length: 12'), 'GET')).toMatchObject({ framing: 12 });
  });

  it.each([
    ['of another protocol', 'HTTP/2 200 OK'],
    ['of no protocol', ''],
    ['with a status of two digits', 'HTTP/1.1 20 OK'],
    ['with a line that is folded', head('X: a', ' b')],
    ['with a space before the colon', head('Content-Length : 1')],
    ['with a name that is none', head('Content Length: 1')],
    ['with a line without a colon', head('Content-Length')],
    ['with a bare line feed', head('X: a\nContent-Length: 1')],
    ['with a bare carriage return', head('X: a\rContent-Length: 1')],
    ['with a zero byte', head('X: a\0')],
    ['with two lengths', head('Content-Length: 1', 'Content-Length: 2')],
    ['with one length twice', head('Content-Length: 1', 'Content-Length: 1')],
    ['with a length below zero', head('Content-Length: -1')],
    ['with a length in hexadecimal', head('Content-Length: 0x10')],
    ['with a length and chunks', head('Content-Length: 1', 'Transfer-Encoding: chunked')],
    ['with a length before a no-break space', head('Content-Length: 1\xa0')],
    ['in chunks before a no-break space', head('Transfer-Encoding: chunked\xa0')],
    ['in chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked'],
    ['that is compressed', head('Transfer-Encoding: gzip, chunked')],
    ['in chunks of chunks', head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
  ])('%s is refused', (_, text) => {
    expect(() => parseHead(text, 'GET')).toThrow(/answer/);
  });
});

describe('a body', () => {
  /** What a reader takes of bytes that come in pieces, and what it leaves; undefined where it has no end. */
  function read(framing: Framing, text: string, cuts: readonly number[] = []) {
    const reader = bodyReader(framing);
    const all = Buffer.from(text, 'latin1');
    const ends = [...new Set(cuts.map((cut) => cut % (all.length + 1)))].sort((a, b) => a - b);
    let body = '';
    let from = 0;
    for (const to of [...ends, all.length]) {
      const after = reader.take(all.subarray(from, to), (piece) => (body += piece.toString('latin1')));
      if (after !== undefined) return { body, after: after.toString('latin1') + text.slice(to) };
      from = to;
    }
    return { body };
  }

  const chunked = '3\r\nabc\r\nA;why=not\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n';

  it('ends where its length or its last chunk says, however it comes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), fc.string(), (cuts, after) => {
        const more = Buffer.from(after).toString('latin1');
        expect(read('chunked', chunked + more, cuts)).toEqual({ body: 'abc0123456789', after: more });
        expect(read(5, `12345${more}`, cuts)).toEqual({ body: '12345', after: more });
        expect(read('connection', `12345${more}`, cuts)).toEqual({ body: `12345${more}` });
      }),
    );
    expect(read('chunked', chunked.slice(0, -1))).toEqual({ body: 'abc0123456789' });
    expect(read(0, '')).toEqual({ body: '', after: '' });
  });

  it.each([
    ['without a size', '\r\nabc\r\n'],
    ['with a size below zero', '-3\r\nabc\r\n'],
    ['with a size beyond all numbers', 'fffffffff\r\nabc\r\n'],
    ['with spaces around its size', ' 3 \r\nabc\r\n'],
    ['with a size that ends in a bare line feed', '3\nabc\r\n'],
    ['that is longer than its size', '3\r\nabcd\r\n0\r\n\r\n'],
    ['with more before it than in it', `3;${'x'.repeat(300)}\r\nabc\r\n`],
    ['whose extension goes on and on', `3;${'x'.repeat(20_000)}`],
    ['with a space after its size', '3 ;a\r\nabc\r\n'],
    ['with an extension that is none', '3;a b\r\nabc\r\n'],
    ['after which a trailer has no name', '0\r\nx\r\n\r\n'],
    ['after which a trailer has a bare carriage return', '0\r\nX: y\rZ: z\r\n\r\n'],
    ['after which a trailer says another length', '0\r\nContent-Length: 3\r\n\r\n'],
    ['after which a trailer says that there are chunks', '0\r\ntransfer-encoding: chunked\r\n\r\n'],
    ['after which trailers go on and on', `0\r\n${'X: yyyyyyyyyyyyyyyy\r\n'.repeat(1000)}`],
  ])('in a chunk %s is refused', (_, text) => {
    expect(read('chunked', '3\r\nabc\r\n0\r\n\r\n')).toEqual({ body: 'abc', after: '' });
    expect(() => read('chunked', text)).toThrow();
  });
});

describe('a server', () => {
  /** What each connection is answered, question by question; the connection ends where there is `end`. */
  let script: (readonly (string | typeof end)[])[];
  const end = Symbol('end');
  let server: Server;
  let asked: string[];
  let open: Set<Socket>;
  let url: URL;

  beforeAll(async () => {
    server = createServer((socket) => {
      const answers = [...(script.shift() ?? [])];
      open.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => open.delete(socket));
      socket.on('data', (bytes) => {
        asked.push(bytes.toString('latin1'));
        const answer = answers.shift();
        if (typeof answer === 'string') socket.write(answer, 'latin1');
        if (answer === end || answers[0] === end) socket.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  beforeEach(() => {
    script = [];
    asked = [];
    open = new Set();
    // Connections are kept by host and port: none of another test is one of this.
    url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/path?query`);
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const ask = (changes: Partial<Parameters<typeof exchange>[0]> = {}) =>
    exchange({ method: 'GET', url, headers: {}, budgetMs: 2000, ...changes });
  async function read(changes: Parameters<typeof ask>[0] = {}) {
    const { status, body } = await ask(changes);
    let text = '';
    for await (const piece of body) text += Buffer.from(piece).toString('latin1');
    return { status, text };
  }
  const ok = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  const bye = (text: string) => ok(text).replace('\r\n', '\r\nConnection: close\r\n');
  const turn = () => new Promise((resolve) => setTimeout(resolve, 20));

  it('is asked in one line after another, on one connection', async () => {
    script = [[ok('one'), ok('two'), ok('three'), bye('four')]];
    expect(await read({ headers: { accept: 'x/y' } })).toEqual({ status: 200, text: 'one' });
    expect(asked).toEqual([`GET /path?query HTTP/1.1\r\nhost: ${url.host}\r\naccept: x/y\r\n\r\n`]);
    expect((await read()).text).toBe('two');
    expect((await read({ method: 'POST' })).text).toBe('three');
    expect(asked[2]).toBe(`POST /path?query HTTP/1.1\r\nhost: ${url.host}\r\ncontent-length: 0\r\n\r\n`);
    expect((await read()).text).toBe('four');
  });

  it('is told no header of two lines', async () => {
    script = [[bye('honest')]];
    const headers = { 'content-type': 'a/b\r\nauthorization: Basic eDp5' };
    await expect(ask({ headers })).rejects.toThrow('content-type');
    expect(asked).toEqual([]);
    expect((await read({ headers: { 'content-type': 'a/b' } })).text).toBe('honest');
  });

  it('that answers before it is asked has answered nobody', async () => {
    for (const first of [ok('one') + ok('forged'), ok('one')]) {
      script = [[first], [bye('two')]];
      expect((await read()).text).toBe('one');
      for (const socket of open) socket.write(ok('forged'));
      await turn();
      expect((await read()).text).toBe('two');
    }
  });

  it('may say that it is coming, but not for ever', async () => {
    const soon = 'HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n';
    script = [[soon + soon + bye('here')]];
    expect((await read()).text).toBe('here');
    for (const forever of [
      soon.repeat(9),
      soon.replace('Link: <x>', 'Connection: close'),
      soon.replace('1.1', '1.0'),
    ]) {
      script = [[forever + ok('here')]];
      await expect(read()).rejects.toThrow('no answer');
    }
  });

  it('may end its answer by ending the connection, where it said no length', async () => {
    script = [['HTTP/1.1 200 OK\r\n\r\nall of it', end]];
    expect((await read()).text).toBe('all of it');
    script = [['HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it', end]];
    await expect(read()).rejects.toMatchObject({ code: 'ECONNRESET' });
    script = [['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', end]];
    await expect(read()).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it.each([
    ['has a head without end', `HTTP/1.1 200 OK\r\n${'X: yyyyyyyyyyyyyyyy\r\n'.repeat(1000)}`],
    ['has a head of one line without end', `HTTP/1.1 200 ${'y'.repeat(20_000)}`],
    ['speaks something else', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
    ['ends its body twice', ok('one').replace('\r\n', '\r\nTransfer-Encoding: chunked\r\n')],
  ])('that %s is not listened to any longer', async (_, answer) => {
    script = [[bye('honest')], [answer]];
    expect((await read()).text).toBe('honest');
    await expect(read()).rejects.toThrow(/answer/);
    await turn();
    expect(open.size).toBe(0);
    script = [[answer]];
    const registry = new Repository({ registry: url.host, repository: 'app' });
    await expect(registry.manifest('v1')).rejects.toMatchObject({ code: 'OCI_UNREACHABLE' });
  });

  it('that sends in tiny chunks, faster than it is read, serves the next question on the same connection', async () => {
    const tiny = `${'1\r\nx\r\n'.repeat(50_000)}0\r\n\r\n`;
    script = [[`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${tiny}`, bye('two')]];
    const { body } = await ask();
    await turn();
    let [length, pieces] = [0, 0];
    for await (const piece of body) {
      length += piece.length;
      pieces++;
    }
    expect(length).toBe(50_000);
    // Its reader has to do with fewer.
    expect(pieces).toBeLessThan(5_000);
    expect((await read()).text).toBe('two');
    expect(asked).toHaveLength(2);
  });

  it('is not read faster than its answer is', async () => {
    script = [[`HTTP/1.1 200 OK\r\nContent-Length: ${64 << 20}\r\n\r\n`]];
    const { body } = await ask({ budgetMs: 5000 });
    const [socket] = open;
    let sent = 0;
    let waits = false;
    while (!waits && sent < 64 << 20) {
      waits = !socket?.write(Buffer.alloc(1 << 20));
      sent += 1 << 20;
      await turn();
      if (waits && socket?.writableLength === 0) waits = false;
    }
    expect(sent).toBeLessThan(32 << 20);
    // Who wants no more of it hangs up.
    for await (const piece of body) if (piece.length > 0) break;
    await turn();
    expect(open.size).toBe(0);
  });

  it('that has a long answer, or one of no known length, is left when nobody wants it', async () => {
    for (const [framing, connections] of [
      ['Content-Length: 3', 1],
      [`Content-Length: ${1 << 20}`, 0],
      ['X: y', 0],
    ] as const) {
      script = [[`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`]];
      const answer = await ask();
      answer.drop();
      await turn();
      expect(open.size).toBe(connections);
      for (const socket of open) socket.destroy();
      await turn();
    }
  });

  it('is sent no more once it has answered, and the answer is what it said', async () => {
    let goesOn = true;
    async function* forever() {
      try {
        for (;;) {
          yield new Uint8Array(64 * 1024);
          await turn();
        }
      } finally {
        goesOn = false;
      }
    }
    script = [['HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno']];
    const stream = { stream: forever(), length: 1 << 30 };
    expect(await read({ method: 'PUT', body: stream })).toEqual({ status: 413, text: 'no' });
    for (let i = 0; i < 10; i++) await turn();
    expect([goesOn, open.size]).toEqual([false, 0]);
  });
});
