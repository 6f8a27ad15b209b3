import { connect } from 'node:net';
import { type Answer, Connection, headOf, type Question, Stale } from './http/connection.ts';

/** How long a connection is kept for another question, in milliseconds: shorter than servers keep one. */
const KEPT_MS = 4000;
/** Most that are kept to one server. */
const MAX_KEPT = 16;

/** Connections that wait for a question, by origin: whoever was used last is asked first. */
const kept = new Map<string, Kept[]>();

interface Kept {
  readonly connection: Connection;
  readonly timer: NodeJS.Timeout;
}

/**
 * One question and its answer, over HTTP/1.1 or TLS as the URL says. No redirect is followed and nothing is decompressed.
 * Connections are kept for a while: a registry is asked several things in a row. Node's own client does the same and much
 * more; to load it, and to ask the first question, takes a seventh of the time of a command that verifies an image.
 */
export async function exchange(question: Question): Promise<Answer> {
  const until = nowMs() + question.budgetMs;
  const head = headOf(question);
  const used = take(question.url.origin);
  try {
    if (used !== undefined) return await used.ask(question, head, until - nowMs());
  } catch (error) {
    // The server closed a kept connection while the question was on its way: it was never read, so it is asked again.
    if (!(error instanceof Stale)) throw error;
  }
  return (await open(question.url)).ask(question, head, until - nowMs());
}

/** A clock that is never put back. `performance` is one too, and brings ten of Node's parts along. */
function nowMs(): number {
  return process.uptime() * 1000;
}

async function open({ protocol, hostname, port, origin }: URL): Promise<Connection> {
  const host = hostname.replace(/^\[|\]$/g, '');
  const freed = (connection: Connection) => keep(origin, connection);
  if (protocol !== 'https:') {
    const socket = connect({ host, port: Number(port || 80), noDelay: true });
    return new Connection(socket, 'connect', freed);
  }
  // TLS costs a command's start as much as the rest of Node: where a registry on this machine is asked, it isn't loaded.
  const { connectTls } = await import('./http/tls.ts');
  return new Connection(connectTls(host, Number(port || 443)), 'secureConnect', freed);
}

function take(origin: string): Connection | undefined {
  const free = kept.get(origin) ?? [];
  for (;;) {
    const last = free.pop();
    if (last === undefined) return undefined;
    clearTimeout(last.timer);
    if (last.connection.usable) return last.connection;
  }
}

function keep(origin: string, connection: Connection): void {
  const free = kept.get(origin) ?? [];
  kept.set(origin, free);
  connection.rest();
  const timer = setTimeout(() => {
    connection.close();
    const at = free.findIndex((one) => one.connection === connection);
    if (at !== -1) free.splice(at, 1);
    if (free.length === 0) kept.delete(origin);
  }, KEPT_MS).unref();
  free.push({ connection, timer });
  if (free.length > MAX_KEPT) free.shift()?.connection.close();
}
