import { connect } from 'node:net';
import { type Answer, Connection, headOf, type Question, Stale } from './connection.ts';

/** How long a connection is kept for another question, in milliseconds: shorter than servers keep one. */
const KEPT_MS = 4000;
/** Most that are kept, whoever they are to: a registry can lead to as many servers as it likes. */
const MAX_KEPT = 16;

/** Connections that wait for a question: whoever was used last is asked first. */
const kept: Kept[] = [];

interface Kept {
  readonly origin: string;
  readonly connection: Connection;
  readonly timer: NodeJS.Timeout;
  hangUp(): void;
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
  const { connectTls } = await import('./tls.ts');
  return new Connection(connectTls(host, Number(port || 443)), 'secureConnect', freed);
}

function take(origin: string): Connection | undefined {
  for (;;) {
    const last = kept.findLast((one) => one.origin === origin);
    if (last === undefined) return undefined;
    forget(last);
    if (last.connection.usable) return last.connection;
  }
}

function keep(origin: string, connection: Connection): void {
  const hangUp = () => {
    forget(one);
    connection.close();
  };
  const one = { origin, connection, timer: setTimeout(hangUp, KEPT_MS).unref(), hangUp };
  kept.push(one);
  if (kept.length > MAX_KEPT) kept[0]?.hangUp();
}

function forget(one: Kept): void {
  clearTimeout(one.timer);
  kept.splice(kept.indexOf(one), 1);
}
