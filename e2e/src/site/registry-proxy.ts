import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What becomes of a request: it is handed on, never answered, or its connection is cut. */
export type Fate = 'passes' | 'hangs' | 'breaks';

/** Stands before a registry, and has requests come to nothing: a registry that dies, or a network that does. */
export class RegistryProxy {
  /** Decides on each request as it comes. */
  fate: (method: string, path: string) => Fate = () => 'passes';
  /** Requests that were let hang. */
  hung = 0;
  readonly #server: Server;
  readonly #target: string;

  private constructor(target: string) {
    this.#target = target;
    this.#server = createServer((question, answer) => this.#take(question, answer));
  }

  static async start(target: string): Promise<RegistryProxy> {
    const proxy = new RegistryProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** `host:port`. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(question: IncomingMessage, answer: ServerResponse): void {
    const { method = '', url = '', headers } = question;
    const fate = this.fate(method, url);
    if (fate === 'breaks') {
      question.socket.destroy();
      return;
    }
    if (fate === 'hangs') {
      this.hung++;
      question.resume();
      return;
    }
    // The registry names itself by the name it is asked under: this one.
    const onward = request(`http://${this.#target}${url}`, { method, headers }, (reply) => {
      answer.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(answer);
    });
    onward.on('error', () => question.socket.destroy());
    question.pipe(onward);
  }
}
