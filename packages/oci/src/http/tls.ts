import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';

/** A connection over TLS, to who has a certificate of this name or address by an authority that is known here. */
export function connectTls(host: string, port: number): TLSSocket {
  // An address is no name to be sent (RFC 6066 section 3); the certificate is compared with it all the same.
  const name = isIP(host) === 0 ? { servername: host } : {};
  return connect({ host, port, ...name, ALPNProtocols: ['http/1.1'] }).setNoDelay();
}
