import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

/** What a request came to. */
export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** How to reach the server. */
export interface Target {
  readonly port: number;
  readonly ca: string;
  readonly identity?: { readonly certificate: string; readonly key: string };
}

/**
 * One kept-alive HTTP/1.1 connection, one request at a time. Written by hand: node's client takes more time for an exchange than
 * the server does, and on two cores it would measure itself.
 */
export class Connection {
  readonly #socket: TLSSocket;
  #received: Buffer[] = [];
  #length = 0;
  #need = 0;
  #waiting: { resolve(answer: Answer): void; reject(error: Error): void } | undefined;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the server closed the connection')));
  }

  static async open({ port, ca, identity }: Target): Promise<Connection> {
    const socket = connect({
      host: '127.0.0.1',
      port,
      ca,
      minVersion: 'TLSv1.3',
      ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.key }),
    });
    await once(socket, 'secureConnect');
    socket.setNoDelay(true);
    return new Connection(socket);
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.postText(path, JSON.stringify(body));
  }

  /** The same for a body that is JSON already. */
  postText(path: string, text: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.closed) throw new Error('the connection is closed');
      this.#waiting = { resolve, reject };
      this.#socket.write(
        `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
      );
    });
  }

  /** Servers close connections on which nothing comes for a while. */
  get closed(): boolean {
    return this.#socket.destroyed || this.#socket.writableEnded || this.#socket.readableEnded;
  }

  close(): void {
    this.#waiting = undefined;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#need) return;
    const all = this.#received.length === 1 ? chunk : Buffer.concat(this.#received);
    this.#received = [all];
    const end = all.indexOf('\r\n\r\n');
    if (end === -1) return;
    const head = all.toString('latin1', 0, end);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
    this.#need = end + 4 + length;
    if (this.#length < this.#need) return;
    this.#received = [];
    this.#length = 0;
    this.#need = 0;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ status: Number(head.slice(9, 12)), body: all.subarray(end + 4) });
  }

  #fail(error: Error): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(error);
  }
}
