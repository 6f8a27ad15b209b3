import { isIPv6 } from 'node:net';
import { KallioError } from '@kallio/codec';
import type { FastifyInstance } from 'fastify';
import type { ServerCode } from './codes.ts';
import type { ServerConfig } from './setup/config.ts';

/** Host and port of the setting `listen`. */
export function listenAddress(listen: string): { readonly host: string; readonly port: number } {
  const at = listen.lastIndexOf(':');
  const port = Number(listen.slice(at + 1));
  if (port > 65_535) {
    throw new KallioError('CONFIG_INVALID' satisfies ServerCode, `There is no port ${port}.`, {
      pointer: '/listen',
    });
  }
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ''), port };
}

/**
 * Whom an address stands for where sources are counted. Attack: whoever has one IPv6 network (RFC 4291 section 2.5.4: 64
 * bits of it) has more addresses than any limit for one. An IPv4 address in IPv6 writing is that address.
 */
export function sourceOf(ip: string): string {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip) ?? [];
  if (mapped !== undefined) return mapped;
  const [address = ''] = ip.split('%');
  if (!isIPv6(address)) return ip;
  const [left = [], right] = address
    .split('::')
    .map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = right === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...(right ?? [])];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/** Where others reach a server that listens. */
export function urlOf(app: FastifyInstance, config: Pick<ServerConfig, 'names' | 'publicUrl'>): string {
  if (config.publicUrl !== undefined) return config.publicUrl;
  const address = app.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server does not listen yet');
  const [name = address.address] = config.names;
  return `https://${isIPv6(name) ? `[${name}]` : name}:${address.port}`;
}
