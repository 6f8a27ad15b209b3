import { connect, type Socket } from 'node:net';
import { ociError } from '../error.ts';
import { MAX_HEAD, parseHead } from './head.ts';
import { hostOf } from './host.ts';
import type { HttpProxy } from './proxy.ts';
import { connectTls } from './tls.ts';

/** The longest that a proxy is waited for, in milliseconds. */
const MAX_MS = 30_000;

/**
 * A connection to a server by a proxy (`CONNECT`, RFC 9110 section 9.3.6): what goes through it from now on is between the two
 * ends. The proxy is told the server's name and port, who asks the proxy if that is known, and nothing else. `OCI_PROXY`.
 */
export function openTunnel(proxy: HttpProxy, server: URL, ms: number): Promise<Socket> {
  const { protocol, port } = proxy.url;
  const host = hostOf(proxy.url);
  const tls = protocol === 'https:';
  const socket = tls ? connectTls(host, Number(port || 443)) : connect(Number(port || 80), host).setNoDelay();
  // Once it stands it keeps no process from ending; until then the timer does.
  socket.unref();
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      socket.off('data', take).off('error', fail).off('close', closed);
      settle();
    };
    const fail = (why: unknown) =>
      end(() => {
        // What goes wrong from here on goes wrong for nobody.
        socket.on('error', () => undefined).destroy();
        reject(why instanceof Refused ? refused(proxy, server, why.status) : silent(proxy, server, why));
      });
    const closed = () => fail(new Error('the connection was closed'));
    const timer = setTimeout(() => fail(new Error('the time is up')), Math.min(ms, MAX_MS));
    let head = Buffer.alloc(0);
    const take = (bytes: Buffer) => {
      head = Buffer.concat([head, bytes]);
      try {
        if (!opened(head)) return;
      } catch (why) {
        return fail(why);
      }
      end(() => resolve(socket.pause()));
    };
    socket.on('data', take).on('error', fail).on('close', closed);
    socket.once(tls ? 'secureConnect' : 'connect', () => socket.write(questionOf(proxy, server), 'latin1'));
  });
}

function questionOf({ authorization }: HttpProxy, server: URL): string {
  const to = `${server.hostname}:${server.port || 443}`;
  const who = authorization === undefined ? '' : `proxy-authorization: ${authorization}\r\n`;
  return `CONNECT ${to} HTTP/1.1\r\nhost: ${to}\r\n${who}\r\n`;
}

/** Has the proxy said that the connection stands? Not yet, or an error. */
function opened(head: Buffer): boolean {
  const end = head.indexOf('\r\n\r\n');
  // Attack: headers without end.
  if (end > MAX_HEAD || (end === -1 && head.length > MAX_HEAD))
    throw new Error('its answer’s head is too long');
  if (end === -1) return false;
  const { status } = parseHead(head.toString('latin1', 0, end), 'CONNECT');
  if (status < 200 || status > 299) throw new Refused(status);
  // Attack: the beginning of an answer that nobody has asked for yet. Over TLS the client speaks first.
  if (head.length > end + 4) throw new Error('it says more than that');
  return true;
}

class Refused extends Error {
  readonly status: number;

  constructor(status: number) {
    super('the proxy refuses');
    this.status = status;
  }
}

/** Nothing of what the proxy says but its status: the rest may repeat who asked. */
function refused({ url, namedBy, authorization }: HttpProxy, server: URL, status: number): Error {
  const direct = `or list ${hostOf(server)} in NO_PROXY, if it is reached without.`;
  if (status === 407) {
    const who = authorization === undefined ? 'wants to know who asks' : 'does not know who asks';
    return ociError('OCI_PROXY', `The proxy ${url.host} ${who} (407).`, {
      hint: `Name user and password in ${namedBy} (http://USER:PASSWORD@HOST:PORT); ${direct}`,
    });
  }
  return ociError('OCI_PROXY', `The proxy ${url.host} does not lead to ${server.host} (${status}).`, {
    hint: `See whether it may, and can; ${direct}`,
  });
}

function silent({ url, namedBy }: HttpProxy, server: URL, why: unknown): Error {
  const reason = why instanceof Error ? ('code' in why ? String(why.code) : why.message) : 'no reason';
  return ociError('OCI_PROXY', `The proxy ${url.host} does not answer as one (${reason}).`, {
    hint: `Is ${namedBy} right? Correct it, or list ${hostOf(server)} in NO_PROXY, if it is reached without.`,
    cause: why,
  });
}
