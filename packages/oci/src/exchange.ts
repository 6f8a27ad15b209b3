import { once } from 'node:events';
import {
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from 'node:http';

/** What is asked of a registry. */
export interface Question {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Streamed | undefined;
  /** How long question and answer may take, the answer's body with them, in milliseconds. */
  readonly budgetMs: number;
}

/** A body that is sent as it comes. What goes wrong in it breaks the question off, and is what the exchange ends with. */
export interface Streamed {
  readonly stream: AsyncIterable<Uint8Array>;
  readonly length: number;
}

/** A registry's answer. Its body must be read or dropped: the connection waits for it. */
export interface Answer {
  readonly status: number;
  /** A header's value. */
  header(name: string): string | undefined;
  /** The body as it comes. Ends with an error where the connection breaks or the time is up. */
  readonly body: AsyncIterable<Uint8Array>;
  /**
   * Nobody wants the body: the connection serves the next question, unless there is much to wait for. Where the body has come
   * already, it does so from the promise on; who does not wait has another connection made.
   */
  drop(): Promise<void>;
}

/** Longest body that is read for nothing so that its connection can be used again, in bytes. */
const MAX_DROPPED = 64 * 1024;

/**
 * One question and its answer, over HTTP or TLS as the URL says. No redirect is followed and nothing is decompressed.
 * Connections are kept for a while: a registry is asked several things in a row.
 */
export async function exchange(question: Question): Promise<Answer> {
  const until = nowMs() + question.budgetMs;
  try {
    return answerOf(await ask(question, until));
  } catch (error) {
    // The server closed a kept connection while the question was on its way: it was never read, so it is asked again.
    if (error instanceof Stale) return answerOf(await ask(question, until));
    throw error;
  }
}

/** A clock that is never put back. `performance` is one too, and brings ten of Node's parts along. */
function nowMs(): number {
  return process.uptime() * 1000;
}

/** A kept connection that was closed by the other side before it answered. */
class Stale extends Error {}

async function ask({ method, url, headers, body }: Question, until: number): Promise<IncomingMessage> {
  // TLS costs a command's start as much as the rest of Node: where a registry on this machine is asked, it isn't loaded.
  const request = url.protocol === 'https:' ? (await import('node:https')).request : requestHttp;
  const length: Record<string, number> = body === undefined ? {} : { 'content-length': body.length };
  const options: RequestOptions = { method, headers: { ...headers, ...length } };
  return new Promise((resolve, reject) => {
    const sent = request(url, options, (message) => {
      message.once('close', () => clearTimeout(timer));
      resolve(message);
    });
    // Ends the answer too, however much of it has come.
    const timer = setTimeout(() => sent.destroy(new Error('the time is up')), until - nowMs());
    sent.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const again =
        sent.reusedSocket && error.code === 'ECONNRESET' && (method === 'GET' || method === 'HEAD');
      reject(again ? new Stale() : error);
    });
    // Attack: an answer that goes on in another protocol (101) closes the connection, and nothing else ever comes of it.
    sent.once('close', () => {
      clearTimeout(timer);
      reject(new Error('the connection was closed'));
    });
    if (body === undefined || body instanceof Uint8Array) sent.end(body);
    else void send(body.stream, sent);
  });
}

/** Sends a body as it comes, and no faster than it is taken. What goes wrong in it breaks the question off. */
async function send(stream: AsyncIterable<Uint8Array>, sent: ClientRequest): Promise<void> {
  const closed = new AbortController();
  sent.once('close', () => closed.abort());
  try {
    for await (const piece of stream) {
      if (!sent.write(piece)) await once(sent, 'drain', { signal: closed.signal });
    }
    sent.end();
  } catch (error) {
    sent.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

function answerOf(message: IncomingMessage): Answer {
  return {
    status: message.statusCode ?? 0,
    header(name) {
      const value = message.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    body: message,
    async drop() {
      // Broken or out of time: nobody waits for it.
      message.on('error', () => undefined);
      // What has come already is not waited for, whether or not it said how long it would be.
      const length = Number(message.headers['content-length'] ?? Number.NaN);
      if (!message.complete && !(length <= MAX_DROPPED)) message.destroy();
      else message.resume();
      if (message.complete) await new Promise<void>((resolve) => void message.once('close', resolve));
    },
  };
}
