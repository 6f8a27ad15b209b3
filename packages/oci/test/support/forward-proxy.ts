import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';

/** What a proxy does with who wants to be led somewhere; undefined to lead there. */
export type Answers = (question: IncomingMessage, socket: Socket) => string | undefined;

/** A forward proxy on this machine, which keeps what it sees. */
export interface ForwardProxy {
  readonly port: number;
  /** Where it was to lead. */
  readonly asked: string[];
  /** All that it was told before it led anywhere, and all that it could read of what went through it. */
  readonly told: string[];
  readonly seen: Buffer[];
  answers: Answers;
  /** Where it leads who wants to be led there. */
  leads: (server: string) => string;
  stop(): Promise<void>;
}

/** Starts one; over TLS if it is given a certificate. */
export async function startForwardProxy(tls?: { cert: string; key: string }): Promise<ForwardProxy> {
  const server: Server = tls === undefined ? createServer() : createTlsServer(tls);
  const sockets = new Set<Socket>();
  const proxy: ForwardProxy = {
    port: 0,
    asked: [],
    told: [],
    seen: [],
    answers: () => undefined,
    leads: (server) => server,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on('request', (question, response) => {
    proxy.asked.push(`${question.method} ${question.url}`);
    response.writeHead(405).end();
  });
  server.on('connect', (question: IncomingMessage, socket: Socket, first: Buffer) => {
    proxy.asked.push(question.url ?? '');
    proxy.told.push([question.url, ...question.rawHeaders].join(' '));
    socket.on('error', () => undefined);
    const other = proxy.answers(question, socket);
    if (other !== undefined) return void (other !== '' && socket.write(other));
    const { hostname, port } = new URL(`http://${proxy.leads(question.url ?? '')}`);
    const to = connect(Number(port || 80), hostname.replace(/^\[|\]$/g, ''), () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      proxy.seen.push(first);
      socket.on('data', (bytes: Buffer) => proxy.seen.push(bytes));
      socket.pipe(to).pipe(socket);
    });
    sockets.add(to);
    to.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'));
    socket.on('close', () => to.destroy());
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(proxy, { port: (server.address() as AddressInfo).port });
}
