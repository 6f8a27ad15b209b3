import { decodeShape, KallioError, parseJson, type Refusal } from '@kallio/codec';
import { ErrorReply, type ProtocolCode } from './common.ts';
import { Connections, type Message } from './connections.ts';
import { type CallInput, fillPath, type Reply, type Route } from './route.ts';

/** How to reach a server, and how to know it. */
export interface ClientOptions {
  /** `https://host:port`, or `unix:/path` for an agent's socket. */
  readonly url: string;
  /** PEM of the only authority believed for this server. Required for https. */
  readonly ca?: string;
  /** Client certificate and key of an attester, PEM. */
  readonly identity?: { readonly certificate: string; readonly key: string };
  /** Bearer token of a person or program. */
  readonly token?: string;
  /** Longest wait for an answer, in milliseconds. Default 30 s. */
  readonly timeoutMs?: number;
}

/** Largest answer read, in bytes. */
const MAX_REPLY = 64 * 1024 * 1024;

/** Calls routes of one server. TLS 1.3 only; the server's certificate must chain to the pinned authority. */
export class Client {
  readonly #options: ClientOptions;
  readonly #origin: string;
  readonly #connections: Connections;

  constructor(options: ClientOptions) {
    this.#options = options;
    const unix = options.url.startsWith('unix:');
    this.#origin = unix ? 'http://agent' : options.url.replace(/\/+$/, '');
    if (!unix && !this.#origin.startsWith('https://')) {
      throw new KallioError(
        'SERVER_UNTRUSTED' satisfies ProtocolCode,
        'A server is reached over https only.',
        {
          hint: 'Give its address as https://host:port.',
        },
      );
    }
    this.#connections = new Connections(
      unix
        ? { socketPath: options.url.slice('unix:'.length) }
        : {
            minVersion: 'TLSv1.3',
            ...(options.ca === undefined ? {} : { ca: options.ca }),
            ...(options.identity === undefined
              ? {}
              : { cert: options.identity.certificate, key: options.identity.key }),
          },
    );
  }

  /**
   * One exchange, which `signal` ends. A refusal by the server is thrown as {@link KallioError} with the server's own code.
   */
  async call<R extends Route>(route: R, input: CallInput<R>, signal?: AbortSignal): Promise<Reply<R>> {
    const parts = input as {
      params?: Record<string, unknown>;
      query?: Record<string, unknown>;
      body?: unknown;
    };
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(parts.query ?? {})) query.set(key, String(value));
    const suffix = query.size === 0 ? '' : `?${query}`;
    const path = fillPath(route.path, parts.params ?? {}) + suffix;
    const bytes = await this.#whole(await this.#send(route.method, path, parts.body, { signal }));
    const json = bytes.length === 0 ? {} : parseJson(bytes, { maxBytes: MAX_REPLY, maxDepth: 64 });
    return decodeShape<R['reply']>(
      route.reply,
      json,
      'REPLY_INVALID',
      `The answer to ${route.method} ${route.path}`,
    );
  }

  /** One exchange with a body of any type; the answer's bytes. */
  async raw(
    method: Route['method'],
    path: string,
    body?: unknown,
    contentType?: string,
  ): Promise<Uint8Array> {
    return this.#whole(await this.#send(method, path, body, { contentType }));
  }

  /** The body of an answer that is no refusal. */
  async #whole(response: Message): Promise<Uint8Array> {
    const bytes = await readAll(this.#unbroken(response.body));
    if (response.status >= 200 && response.status < 300) return bytes;
    throw refusalOf(response, bytes);
  }

  /** Opens a stream of server-sent events. Ends when the server or `signal` ends it. */
  async stream(path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#send('GET', path, undefined, { signal, events: true });
    if (response.status !== 200) throw refusalOf(response, await readAll(this.#unbroken(response.body)));
    return this.#unbroken(response.body);
  }

  /** A body whose connection breaks ends like a server that can't be reached, which is what it is. */
  async *#unbroken(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (cause) {
      throw unreachable(this.#options.url, cause);
    }
  }

  /** Lets what is under way end, and closes the connections. */
  async close(): Promise<void> {
    await this.#connections.close();
  }

  async #send(
    method: Route['method'],
    path: string,
    body: unknown,
    how: {
      readonly contentType?: string | undefined;
      readonly signal?: AbortSignal | undefined;
      readonly events?: boolean;
    },
  ) {
    const { contentType, signal, events = false } = how;
    const isBytes = body instanceof Uint8Array;
    const headers: Record<string, string> = {
      accept: events ? 'text/event-stream' : 'application/json',
    };
    if (body !== undefined) headers['content-type'] = contentType ?? 'application/json';
    if (this.#options.token !== undefined) headers.authorization = `Bearer ${this.#options.token}`;
    const bytes = body === undefined ? undefined : isBytes ? body : Buffer.from(JSON.stringify(body));
    // A stream is silent for as long as nothing happens.
    const patience = { answerMs: this.#timeoutMs, silenceMs: events ? 0 : this.#timeoutMs };
    try {
      return await this.#connections.exchange(
        { method, url: new URL(this.#origin + path), headers, body: bytes, signal },
        patience,
      );
    } catch (cause) {
      throw unreachable(this.#options.url, cause);
    }
  }

  get #timeoutMs(): number {
    return this.#options.timeoutMs ?? 30_000;
  }
}

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_REPLY) {
      throw new KallioError(
        'REPLY_INVALID' satisfies ProtocolCode,
        `The answer is longer than ${MAX_REPLY} bytes.`,
      );
    }
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The server has no time now, and says when to come again. */
export class ServerBusy extends KallioError {
  readonly retryAfterSeconds: number;

  constructor(refusal: Refusal, retryAfterSeconds: number) {
    super(refusal.code, refusal.message, refusal);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

const MAX_RETRY_AFTER = 3600;

function refusalOf({ status, headers }: Message, bytes: Uint8Array): KallioError {
  try {
    const { error } = decodeShape(ErrorReply, parseJson(bytes, { maxBytes: 64 * 1024 }));
    const seconds = Number(headers['retry-after']);
    return seconds > 0
      ? new ServerBusy(error, Math.min(seconds, MAX_RETRY_AFTER))
      : new KallioError(error.code, error.message, error);
  } catch (cause) {
    return new KallioError('REPLY_INVALID', `The server answered ${status} without saying why.`, {
      cause,
    });
  }
}

function unreachable(url: string, cause: unknown): KallioError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (url.startsWith('unix:')) {
    return new KallioError(
      'AGENT_UNREACHABLE' satisfies ProtocolCode,
      `No agent answers on the socket ${url.slice('unix:'.length)}${code === '' ? '' : ` (${code})`}.`,
      {
        hint: 'Is the agent running here, is this its socket, and may you open it (it is its owner’s only)?',
        cause,
      },
    );
  }
  const untrusted = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME|ERR_TLS|ERR_SSL/.test(code);
  return untrusted
    ? new KallioError(
        'SERVER_UNTRUSTED',
        `The server at ${url} did not prove to be the one that was pinned (${code}).`,
        {
          hint: 'Compare the pinned authority (--server-ca) with the server’s own ca.pem.',
          cause,
        },
      )
    : new KallioError('SERVER_UNREACHABLE', `No answer from ${url}${code === '' ? '' : ` (${code})`}.`, {
        hint: 'Is it running, and is the address right?',
        cause,
      });
}
