import { Agent as HttpAgent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { type AgentOptions, Agent as HttpsAgent, request as requestTls } from 'node:https';

/** What is asked. */
interface Question {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
  /** Ends question and answer. */
  readonly signal: AbortSignal | undefined;
}

/** How long is waited, in milliseconds. */
interface Patience {
  /** Until the answer begins. */
  readonly answerMs: number;
  /** Between two pieces of it; 0 is for ever. */
  readonly silenceMs: number;
}

/** An answer. Its body must be read to its end, or left: then the connection ends. */
export interface Message {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Connections to one server, kept for a while, each used for one question at a time. Node's own client: a client with a
 * parser of its own, in WebAssembly, takes an agent a quarter of its memory.
 */
export class Connections {
  readonly #agent: HttpAgent;
  readonly #request: typeof request;
  readonly #socketPath: string | undefined;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: { readonly socketPath: string } | AgentOptions) {
    const unix = 'socketPath' in options;
    this.#agent = unix ? new HttpAgent({ keepAlive: true }) : new HttpsAgent({ ...options, keepAlive: true });
    this.#request = unix ? request : requestTls;
    this.#socketPath = unix ? options.socketPath : undefined;
  }

  async exchange(question: Question, patience: Patience): Promise<Message> {
    let message: IncomingMessage;
    try {
      message = await this.#once(question, patience);
    } catch (error) {
      // A kept connection that the server closed while the question was on its way: nobody has read it.
      if (!(error instanceof Stale)) throw error;
      message = await this.#once(question, patience);
    }
    return { status: message.statusCode ?? 0, headers: message.headers, body: message };
  }

  /** Lets what is under way end; whatever is asked afterwards is not kept a connection for. */
  async close(): Promise<void> {
    this.#agent.maxFreeSockets = 0;
    for (const sockets of Object.values(this.#agent.freeSockets)) {
      for (const socket of sockets ?? []) socket.destroy();
    }
    await Promise.all(this.#underWay);
  }

  #once(
    { method, url, headers, body, signal }: Question,
    { answerMs, silenceMs }: Patience,
  ): Promise<IncomingMessage> {
    const length: Record<string, number> = body === undefined ? {} : { 'content-length': body.length };
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.#underWay.add(ended);
    void ended.then(() => this.#underWay.delete(ended));
    return new Promise((resolve, reject) => {
      const sent = this.#request(url, {
        method,
        agent: this.#agent,
        headers: { ...headers, ...length },
        ...(this.#socketPath === undefined ? {} : { socketPath: this.#socketPath }),
        ...(signal === undefined ? {} : { signal }),
      });
      const timer = setTimeout(() => sent.destroy(new TimedOut()), answerMs);
      sent.on('response', (message) => {
        clearTimeout(timer);
        if (silenceMs > 0) sent.setTimeout(silenceMs, () => message.destroy(new TimedOut()));
        resolve(message);
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        const again = sent.reusedSocket && error.code === 'ECONNRESET' && method === 'GET';
        reject(again ? new Stale() : error);
      });
      // An answer that goes on in another protocol (101) closes the connection, and nothing else ever comes of it.
      sent.on('close', () => {
        clearTimeout(timer);
        reject(new Error('the connection was closed'));
        end();
      });
      sent.end(body);
    });
  }
}

class Stale extends Error {}

class TimedOut extends Error {
  readonly code = 'ETIMEDOUT';
}
