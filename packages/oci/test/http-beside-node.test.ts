import { request } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exchange } from '../src/http/exchange.ts';

/*
 * Another reader of HTTP/1.1, Node's, is given the same bytes, cut into the same pieces: what Kallio's takes for an answer
 * Node's takes for the same one. Of bytes that nobody should send it may refuse more.
 */

interface Case {
  readonly method: 'GET' | 'HEAD';
  readonly bytes: Buffer;
  /** Where the pieces end that they are sent in. */
  readonly cuts: readonly number[];
}

/** An answer as a reader took it, or that it took none. */
type Read = { readonly status: number; readonly headers: object; readonly body: string } | 'refused';

let server: Server;
const cases: Case[] = [];
beforeAll(async () => {
  server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', async (question) => {
      const [, index] = / \/(\d+) /.exec(question.toString('latin1')) ?? [];
      const { bytes, cuts } = cases[Number(index)] ?? { bytes: Buffer.alloc(0), cuts: [] };
      let from = 0;
      for (const to of [...cuts, bytes.length]) {
        socket.write(bytes.subarray(from, to));
        from = to;
        if (from < bytes.length) await new Promise((resolve) => setImmediate(resolve));
      }
      socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

const NAMES = ['x-a', 'link', 'location', 'content-type', 'connection', 'docker-content-digest'];

async function byKallio(method: Case['method'], url: URL): Promise<Read> {
  try {
    const answer = await exchange({ method, url, headers: {}, budgetMs: 5000 });
    const pieces: Uint8Array[] = [];
    for await (const piece of answer.body) pieces.push(piece);
    const headers = Object.fromEntries(NAMES.map((name) => [name, answer.header(name)]));
    return { status: answer.status, headers, body: Buffer.concat(pieces).toString('latin1') };
  } catch {
    return 'refused';
  }
}

function byNode(method: Case['method'], url: URL): Promise<Read> {
  return new Promise((resolve) => {
    const refused = () => resolve('refused');
    let whole = () => false;
    const asked = request(url, { method, agent: false }, (answer) => {
      const pieces: Uint8Array[] = [];
      whole = () => answer.complete;
      answer.on('data', (piece: Uint8Array) => pieces.push(piece));
      answer.on('error', refused);
      answer.on('end', () => {
        const headers = Object.fromEntries(
          NAMES.map((name) => [name, answer.headersDistinct[name]?.join(', ')]),
        );
        resolve({
          status: answer.statusCode ?? 0,
          headers,
          body: Buffer.concat(pieces).toString('latin1'),
        });
      });
    });
    // What comes after the answer is wrong, and no part of it.
    asked.on('error', () => whole() || refused());
    asked.on('close', () => whole() || refused());
    asked.end();
  });
}

async function both({ method, bytes, cuts }: Case): Promise<{ kallio: Read; node: Read }> {
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  cases.push({ method, bytes, cuts: ends });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${cases.length - 1}`);
  const [kallio, node] = await Promise.all([byKallio(method, url), byNode(method, url)]);
  return { kallio, node };
}

const text = (characters: string, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...characters), maxLength });
const blank = text(' \t', 2);
const value = text('ab,;=/"<>: \t\xe0\xa0', 12);
const field = fc
  .tuple(fc.constantFrom('X-A', 'Link', 'location', 'Content-type', 'Docker-Content-Digest'), blank, value)
  .map(([name, space, said]) => `${name}:${space}${said}\r\n`);
const fields = fc.array(field, { maxLength: 4 }).map((lines) => lines.join(''));
const body = text('abc\r\n0;\xff', 40);
const extension = fc.constantFrom('', '', ';a', ';a=b', ';a="b c"');

const version = fc.constantFrom('1.1', '1.0');
/** A body, how it ends, and the header that says so. */
const framed = fc.oneof(
  fc
    .tuple(version, body)
    .map(([of, said]) => ({ version: of, head: `Content-Length: ${said.length}\r\n`, said })),
  fc.tuple(fc.array(fc.tuple(body, extension), { maxLength: 5 }), fields).map(([chunks, trailers]) => {
    const whole = chunks.filter(([chunk]) => chunk.length > 0);
    const lines = whole.map(([chunk, more]) => `${chunk.length.toString(16)}${more}\r\n${chunk}\r\n`);
    const said = `${lines.join('')}0\r\n${trailers}\r\n`;
    return { version: '1.1', head: 'Transfer-Encoding: chunked\r\n', said };
  }),
  fc.tuple(version, body).map(([of, said]) => ({ version: of, head: '', said })),
);
const status = fc.constantFrom(
  '200 OK',
  '200',
  '200 ',
  '404 Not Found',
  '307 \xe9',
  '503 Try again',
  '299 x',
);
const interim = fc.constantFrom(
  '',
  '',
  '',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 103 \r\nLink: <x>\r\n\r\n',
);
const closing = fc.constantFrom('', 'Connection: close\r\n', 'connection: Keep-Alive\r\n');
const answer = fc
  .tuple(interim, status, fields, closing, fields, framed)
  .map(
    ([before, first, above, last, below, { version: of, head, said }]) =>
      `${before}HTTP/${of} ${first}\r\n${above}${head}${last}${below}\r\n${said}`,
  );
const bodiless = fc
  .tuple(fc.constantFrom('204 No Content', '304 Not Modified'), fields)
  .map(([first, lines]) => `HTTP/1.1 ${first}\r\n${lines}\r\n`);
const method = fc.constantFrom('GET', 'GET', 'HEAD');
const cuts = fc.array(fc.nat(), { maxLength: 6 });

/** What turns an answer into one that nobody should send. */
const change = fc.record({
  at: fc.nat(),
  removed: fc.nat({ max: 3 }),
  put: fc.constantFrom(
    ...['', '\n', '\r', '\r\n', '\0', ' ', '\t', '\xa0', ';', ',', ':', '0', '1', 'f', 'x', '-', '+', '\x7f'],
    ...['\r\n ', '\r\nContent-Length: 3', '\r\nTransfer-Encoding: chunked', '\r\nTransfer-Encoding: gzip'],
    ...['\r\nConnection: close', 'HTTP/1.0 ', '\r\n\r\n', '\r\nContent-Length: 3\xa0', '\r\nX', '0\r\n\r\n'],
  ),
});
function changed(said: string, changes: readonly { at: number; removed: number; put: string }[]): string {
  return changes.reduce((now, { at, removed, put }) => {
    const from = at % (now.length + 1);
    return now.slice(0, from) + put + now.slice(from + removed);
  }, said);
}

const numRuns = 500;
describe('an answer in any pieces', () => {
  it('is what Node takes it for', async () => {
    const property = fc.asyncProperty(
      method,
      fc.oneof({ weight: 9, arbitrary: answer }, bodiless),
      cuts,
      async (asked, said, at) => {
        const { kallio, node } = await both({ method: asked, bytes: Buffer.from(said, 'latin1'), cuts: at });
        expect(kallio).not.toBe('refused');
        expect(kallio).toEqual(node);
      },
    );
    await fc.assert(property, { numRuns });
  });

  it('that nobody should send is refused, or is what Node takes it for', async () => {
    const outcomes = { refused: 0, taken: 0 };
    const property = fc.asyncProperty(
      method,
      answer,
      fc.array(change, { minLength: 1, maxLength: 2 }),
      cuts,
      async (asked, said, changes, at) => {
        const bytes = Buffer.from(changed(said, changes), 'latin1');
        const { kallio, node } = await both({ method: asked, bytes, cuts: at });
        outcomes[kallio === 'refused' ? 'refused' : 'taken']++;
        if (kallio !== 'refused') expect(kallio).toEqual(node);
      },
    );
    await fc.assert(property, { numRuns });
    expect(Math.min(outcomes.refused, outcomes.taken)).toBeGreaterThan(numRuns / 50);
  });
});
