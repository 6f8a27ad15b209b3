import { BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { ociError } from '../error.ts';
import { hostOf } from './host.ts';

/** An HTTP proxy, through which servers are reached over TLS. */
export interface HttpProxy {
  /** How it is spoken to itself, by its name: `http:` or `https:`. Without who asks. */
  readonly url: URL;
  /** The value of `Proxy-Authorization`; only the proxy may see it. */
  readonly authorization: string | undefined;
  /** What of the environment names it. */
  readonly namedBy: string;
}

/** What of the environment names proxies. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy by which a server is to be reached: of `HTTPS_PROXY` for one that is spoken to over TLS, unless it is this machine
 * or stands in `NO_PROXY`; the names may be in lower case. As Go programs (podman, skopeo, cosign) read them:
 * golang.org/x/net/http/httpproxy. `OCI_PROXY` where what is named can't be used: nobody who asked for a proxy is led past it.
 */
export function proxyFor(server: URL, environment: Environment): HttpProxy | undefined {
  const namedBy = environment.HTTPS_PROXY ? 'HTTPS_PROXY' : 'https_proxy';
  const named = environment[namedBy];
  const exempt = environment.NO_PROXY || environment.no_proxy || '';
  if (!named || server.protocol !== 'https:' || isDirect(server, exempt)) return undefined;
  return parseProxy(named, namedBy);
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');
/** What is of IPv4, also as IPv6 spells it. */
const IPV4 = new BlockList();
IPV4.addSubnet('::ffff:0:0', 96, 'ipv6');

function isDirect(url: URL, exempt: string): boolean {
  const server = { host: hostOf(url), port: url.port || '443' };
  if (server.host === 'localhost' || isListed(LOOPBACK, server.host)) return true;
  return exempt.split(',').some((entry) => isExempt(entry.trim().toLowerCase(), server));
}

/** Does an entry of `NO_PROXY` name this server? `*`, a network, an address or a domain, the last two also with a port. */
function isExempt(entry: string, server: { readonly host: string; readonly port: string }): boolean {
  if (entry === '*') return true;
  const [, network = '', bits] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? [];
  const family = isIP(network);
  if (family !== 0 && Number(bits) <= (family === 4 ? 32 : 128)) {
    const listed = new BlockList();
    listed.addSubnet(network, Number(bits), family === 4 ? 'ipv4' : 'ipv6');
    // All of IPv6 (`::/0`) is not all of IPv4, which Node takes to be in it.
    return isListed(listed, server.host) && isListed(IPV4, server.host) === isListed(IPV4, network);
  }
  const [, address, name, after] = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(entry) ?? [];
  const host = address ?? name ?? entry;
  if (host === '' || (after && after !== server.port)) return false;
  if (isIP(host) !== 0) {
    const listed = new BlockList();
    listed.addAddress(host, isIP(host) === 4 ? 'ipv4' : 'ipv6');
    return isListed(listed, server.host);
  }
  // A domain with a dot or an asterisk before it is what is below it, and not it.
  const below = /^\*?\./.test(host);
  const domain = below ? host.slice(host.indexOf('.') + 1) : host;
  const ascii = /^[ -~]*$/.test(domain) ? domain : domainToASCII(domain);
  // Attack: an address that ends like a domain.
  if (isIP(server.host) !== 0 || ascii === '') return false;
  return server.host.endsWith(`.${ascii}`) || (!below && server.host === ascii);
}

function isListed(list: BlockList, host: string): boolean {
  const family = isIP(host);
  return family !== 0 && list.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

/** What is wrong is never shown: there may be a password in it. */
function parseProxy(named: string, namedBy: string): HttpProxy {
  // As `host:port` it is one over plain HTTP.
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(named) ? named : `http://${named}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || url.hostname === '' || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw ociError('OCI_PROXY', `${namedBy} names no HTTP proxy.`, {
      hint: 'Write http://HOST:PORT, or https://HOST:PORT for a proxy that is spoken to over TLS.',
    });
  }
  const { username, password } = url;
  const authorization = username === '' && password === '' ? undefined : basic(username, password, namedBy);
  const { protocol, host } = url;
  return { url: new URL(`${protocol}//${host}`), authorization, namedBy };
}

function basic(username: string, password: string, namedBy: string): string {
  try {
    const said = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(said).toString('base64')}`;
  } catch {
    throw ociError('OCI_PROXY', `In ${namedBy} user or password are not written as in a URL.`, {
      hint: 'Write % as %25, and what else has a meaning in a URL as its percent code.',
    });
  }
}
