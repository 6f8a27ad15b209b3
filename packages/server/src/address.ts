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

/** Where others reach a server that listens. */
export function urlOf(app: FastifyInstance, config: Pick<ServerConfig, 'names' | 'publicUrl'>): string {
  if (config.publicUrl !== undefined) return config.publicUrl;
  const address = app.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server does not listen yet');
  const [name = address.address] = config.names;
  return `https://${isIPv6(name) ? `[${name}]` : name}:${address.port}`;
}
