import { connect } from 'node:net';
import { nowMs } from '../clock.ts';
import { type Answer, Connection, headOf, type Question, Stale } from './connection.ts';
import { hostOf } from './host.ts';
import type { HttpProxy } from './proxy.ts';

/** How long a connection is kept for another question, in milliseconds: shorter than servers keep one. */
const KEPT_MS = 4000;
/** Most that are kept, whoever they are to: a registry can lead to as many servers as it likes. */
const MAX_KEPT = 16;

/** Connections that wait for a question: whoever was used last is asked first. */
const kept: Kept[] = [];

interface Kept {
  /** Whom it leads to, by which proxy, and as whom that one knows us. */
  readonly way: string;
  readonly connection: Connection;
  readonly timer: NodeJS.Timeout;
  hangUp(): void;
}

/**
 * One question and its answer, over HTTP/1.1 or TLS as the URL says, by the proxy that the environment names for it. No
 * redirect is followed and nothing is decompressed. Connections are kept for a while: a registry is asked several things in a
 * row. Node's own client does the same and much more; to load it, and to ask the first question, takes a seventh of the time
 * of a command that verifies an image.
 */
export async function exchange(question: Question): Promise<Answer> {
  const until = nowMs() + question.budgetMs;
  const head = headOf(question);
  const proxy = mayHaveProxy(question.url) ? await proxyTo(question.url) : undefined;
  const way = [question.url.origin, proxy?.url.origin, proxy?.authorization].join(' ');
  const used = take(way);
  try {
    if (used !== undefined) return await used.ask(question, head, until - nowMs());
  } catch (error) {
    // The server closed a kept connection while the question was on its way: it was never read, so it is asked again.
    if (!(error instanceof Stale)) throw error;
  }
  const connection = await open(question.url, proxy, until - nowMs(), (freed) => keep(way, freed));
  return connection.ask(question, head, until - nowMs());
}

/** Who has none loads nothing of it, and waits for nothing. */
function mayHaveProxy({ protocol }: URL): boolean {
  const { HTTPS_PROXY, https_proxy } = process.env;
  return protocol === 'https:' && Boolean(HTTPS_PROXY || https_proxy);
}

/** Asked anew for each question: a server leads to others, of which each may be reached otherwise. */
async function proxyTo(server: URL): Promise<HttpProxy | undefined> {
  return (await import('./proxy.ts')).proxyFor(server, process.env);
}

async function open(
  server: URL,
  proxy: HttpProxy | undefined,
  ms: number,
  freed: (connection: Connection) => void,
): Promise<Connection> {
  const host = hostOf(server);
  if (server.protocol !== 'https:') {
    const socket = connect({ host, port: Number(server.port || 80), noDelay: true });
    return new Connection(socket, 'connect', freed);
  }
  // TLS costs a command's start as much as the rest of Node: where a registry on this machine is asked, it isn't loaded.
  const { connectTls } = await import('./tls.ts');
  const tunnel =
    proxy === undefined ? undefined : await (await import('./tunnel.ts')).openTunnel(proxy, server, ms);
  return new Connection(connectTls(host, Number(server.port || 443), tunnel), 'secureConnect', freed);
}

function take(way: string): Connection | undefined {
  for (;;) {
    const last = kept.findLast((one) => one.way === way);
    if (last === undefined) return undefined;
    forget(last);
    if (last.connection.usable) return last.connection;
  }
}

function keep(way: string, connection: Connection): void {
  const hangUp = () => {
    forget(one);
    connection.close();
  };
  const one = { way, connection, timer: setTimeout(hangUp, KEPT_MS).unref(), hangUp };
  kept.push(one);
  if (kept.length > MAX_KEPT) kept[0]?.hangUp();
}

function forget(one: Kept): void {
  clearTimeout(one.timer);
  kept.splice(kept.indexOf(one), 1);
}
