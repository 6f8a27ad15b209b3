import type { Socket } from 'node:net';
import { Body } from './body.ts';
import { type BodyReader, bodyReader } from './framing.ts';
import { type Head, MAX_HEAD, parseHead } from './head.ts';

/** What is asked of a server. */
export interface Question {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly url: URL;
  /** Names in lower case. */
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

/** A server's answer. Its body must be read or dropped: the connection waits for it. */
export interface Answer {
  readonly status: number;
  /** A header's value, by its name in lower case. */
  header(name: string): string | undefined;
  /** The body as it comes. Ends with an error where the connection breaks or the time is up. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Nobody wants the body: the connection serves another question, unless there is much to wait for. */
  drop(): void;
}

/** A kept connection that was closed by the other side before it answered: the question was never read. */
export class Stale extends Error {}

/** Longest body that is read for nothing so that its connection can be used again, in bytes. */
const MAX_DROPPED = 64 * 1024;
/** Most interim answers (1xx) before the one that counts. */
const MAX_INTERIM = 8;
/** What a header may say (RFC 9110 section 5.5). Attack: a media type of two lines, of which the second is a header. */
const SAYABLE = /^[\t -~\x80-\xff]*$/;

/** A question on its way. */
interface Pending {
  readonly method: string;
  readonly timer: NodeJS.Timeout;
  answered(answer: Answer): void;
  failed(error: Error): void;
  /** All of the question has been given to the connection. */
  sent: boolean;
  /** The beginning of the answer's head. */
  head: Buffer | undefined;
  interim: number;
  /** There once the head is read. */
  body?: { readonly reader: BodyReader; readonly body: Body; readonly head: Head };
}

/** A connection to a server, which answers one question after another. */
export class Connection {
  readonly #socket: Socket;
  readonly #opens: 'connect' | 'secureConnect';
  readonly #freed: (connection: Connection) => void;
  #open = false;
  #served = false;
  #pending: Pending | undefined;

  /** `opens` is the event from which on the socket may be written to; `freed` hears when another question may be asked. */
  constructor(socket: Socket, opens: 'connect' | 'secureConnect', freed: (connection: Connection) => void) {
    this.#socket = socket;
    this.#opens = opens;
    this.#freed = freed;
    // What keeps a process from ending is a question's timer, while its answer is waited for.
    socket.unref();
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    socket.on('end', () => this.#ended());
    socket.on('error', (error) => this.#failed(error));
    socket.on('close', () => this.#failed());
  }

  get usable(): boolean {
    return !this.#socket.destroyed && this.#socket.writable && this.#pending === undefined;
  }

  close(): void {
    this.#socket.destroy();
  }

  /**
   * The answer to a question, whose {@link headOf} is given, or what went wrong; {@link Stale} where the question may be asked
   * again.
   */
  ask({ method, body }: Question, head: string, ms: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const pending: Pending = {
        method,
        // Ends the answer too, however much of it has come.
        timer: setTimeout(() => this.#failed(new Error('the time is up')), ms),
        answered: resolve,
        failed: reject,
        sent: false,
        head: undefined,
        interim: 0,
      };
      this.#pending = pending;
      if (this.#open) return this.#send(pending, head, body);
      this.#socket.once(this.#opens, () => {
        this.#open = true;
        this.#send(pending, head, body);
      });
    });
  }

  #send(pending: Pending, head: string, body: Question['body']): void {
    this.#socket.write(head, 'latin1');
    if (body === undefined) pending.sent = true;
    else if (body instanceof Uint8Array) {
      this.#socket.write(body);
      pending.sent = true;
    } else void this.#stream(pending, body);
  }

  /** Sends a body as it comes, and no faster than it is taken. */
  async #stream(pending: Pending, { stream, length }: Streamed): Promise<void> {
    // What goes beyond the length that was said would be the next question.
    const wrong = new Error('what is sent is not as long as was said');
    let left = length;
    try {
      for await (const piece of stream) {
        // Answered before all was said, or broken off.
        if (this.#pending !== pending) return;
        left -= piece.length;
        if (left < 0) throw wrong;
        if (!this.#socket.write(piece)) await drained(this.#socket);
      }
      if (left > 0) throw wrong;
      pending.sent = true;
    } catch (error) {
      if (this.#pending === pending) this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #take(bytes: Buffer): void {
    try {
      let rest: Buffer | undefined = bytes;
      while (this.#pending !== undefined && rest !== undefined) rest = this.#read(this.#pending, rest);
      // Attack: an answer before anybody asks, for whoever asks next.
      if (this.#pending === undefined && rest !== undefined && rest.length > 0) this.close();
    } catch (error) {
      this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Reads what belongs to the answer; what comes after it, once it has ended. */
  #read(pending: Pending, bytes: Buffer): Buffer | undefined {
    if (pending.body !== undefined) {
      const { reader, body } = pending.body;
      const after = reader.take(bytes, (piece) => body.hand(piece));
      if (after !== undefined) this.#answered(pending);
      return after;
    }
    const all = pending.head === undefined ? bytes : Buffer.concat([pending.head, bytes]);
    const end = all.indexOf('\r\n\r\n');
    if (end > MAX_HEAD || (end === -1 && all.length > MAX_HEAD))
      throw new Error('the answer’s head is too long');
    pending.head = all;
    if (end === -1) return undefined;
    const head = parseHead(all.toString('latin1', 0, end), pending.method);
    const rest = all.subarray(end + 4);
    pending.head = undefined;
    if (head.status < 200) {
      // Attack: an answer that goes on in another protocol (101) or is the last (close), and nothing else ever comes of it.
      if (head.status === 101 || !head.keeps || ++pending.interim > MAX_INTERIM)
        throw new Error('no answer comes of this');
      return rest;
    }
    const body = new Body({
      pause: () => this.#socket.pause(),
      resume: () => this.#socket.resume(),
      cancel: () => this.#failed(new Error('nobody waits for the rest of the answer')),
    });
    pending.body = { reader: bodyReader(head.framing), body, head };
    const { status, headers, framing } = head;
    const short = typeof framing === 'number' && framing <= MAX_DROPPED;
    pending.answered({
      status,
      header: (name) => headers.get(name),
      body,
      drop: () => {
        // Attack: an end that never comes, for which a command that has nothing else to do would stay.
        pending.timer.unref();
        body.drop(short);
      },
    });
    return rest;
  }

  /** The whole answer has come. */
  #answered(pending: Pending): void {
    this.#pending = undefined;
    clearTimeout(pending.timer);
    pending.body?.body.end('whole');
    this.#served = true;
    if (!pending.sent || pending.body?.head.keeps !== true) {
      this.close();
      return;
    }
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#freed(this);
  }

  /**
   * The other side says no more, or somebody on the way says so in its place: also over TLS nobody could tell. What is cut so
   * is no JSON, and has another digest.
   */
  #ended(): void {
    const pending = this.#pending;
    if (pending?.body?.head.framing === 'connection') this.#answered(pending);
    else this.#failed();
  }

  #failed(cause?: NodeJS.ErrnoException): void {
    this.close();
    const pending = this.#pending;
    if (pending === undefined) return;
    this.#pending = undefined;
    clearTimeout(pending.timer);
    const error = cause ?? Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' });
    pending.body?.body.end(error);
    const unread = this.#served && pending.head === undefined && pending.interim === 0;
    const closed = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    const again = unread && closed && (pending.method === 'GET' || pending.method === 'HEAD');
    pending.failed(again ? new Stale() : error);
  }
}

/** The lines of a question (RFC 9112 section 3); an error where a header can't be said. */
export function headOf({ method, url, headers, body }: Question): string {
  const lines = [`${method} ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`];
  for (const [name, value] of Object.entries(headers)) {
    if (!SAYABLE.test(value)) throw new Error(`the header ${name} can’t say this`);
    lines.push(`${name}: ${value}`);
  }
  if (body !== undefined || method === 'POST' || method === 'PUT')
    lines.push(`content-length: ${body?.length ?? 0}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Until more may be written, or nothing ever. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}
