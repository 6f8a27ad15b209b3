import { isIP, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';

/**
 * A connection over TLS, to who has a certificate of this name or address by an authority that is known here. Through a `tunnel`,
 * if there is one that leads there.
 */
export function connectTls(host: string, port: number, tunnel?: Socket): TLSSocket {
  // An address is no name to be sent (RFC 6066 section 3); the certificate is compared with it all the same.
  const name = isIP(host) === 0 ? { servername: host } : {};
  const way = tunnel === undefined ? { host, port } : { host, socket: tunnel };
  return connect({ ...way, ...name, ALPNProtocols: ['http/1.1'] }).setNoDelay();
}
