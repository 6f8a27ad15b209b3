import { TLSSocket } from 'node:tls';
import { KallioError } from '@kallio/codec';
import { attesterOf } from '@kallio/pki';
import type { ProtocolCode } from '@kallio/protocol';
import type { Authenticate, Principal } from '@kallio/protocol/serve';
import type { FastifyRequest } from 'fastify';
import { hashToken } from '../secrets.ts';
import type { Store } from '../store/store.ts';
import type { Clock } from '../time.ts';

/** What telling callers apart needs. */
export interface AuthenticationParts {
  readonly store: Store;
  readonly trustDomain: string;
  readonly clock: Clock;
}

/**
 * Who sent a request. A credential that is offered and does not hold is `UNAUTHENTICATED`: falling back to anonymous
 * would let a caller believe that it had been recognised.
 */
export function authenticator(parts: AuthenticationParts): Authenticate {
  return (request) => {
    const certificate = clientCertificate(request);
    const authorization = request.headers.authorization;
    if (certificate !== undefined && authorization !== undefined) {
      throw unauthenticated('Two credentials were offered; offer one.');
    }
    if (certificate !== undefined) return attesterPrincipal(parts, certificate);
    if (authorization !== undefined) return tokenPrincipal(parts, authorization);
    return { kind: 'anonymous' };
  };
}

/** A client certificate as the TLS layer saw it. */
interface ClientCertificate {
  readonly der: Uint8Array;
  /** SHA-256 of the certificate, as `store.certificates` keeps it. */
  readonly fingerprint: string;
  /** Did it verify against the attesters' authority, for client authentication? */
  readonly authorized: boolean;
}

/** TLS 1.3 has no renegotiation: a connection keeps the certificate that it began with, so it is read once for each. */
const seen = new WeakMap<TLSSocket, ClientCertificate>();

function clientCertificate(request: FastifyRequest): ClientCertificate | undefined {
  const { socket } = request.raw;
  if (!(socket instanceof TLSSocket)) return undefined;
  const known = seen.get(socket);
  if (known !== undefined) return known;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const read = {
    der: new Uint8Array(certificate.raw),
    fingerprint: certificate.fingerprint256,
    authorized: socket.authorized,
  };
  seen.set(socket, read);
  return read;
}

function attesterPrincipal(
  { store, trustDomain, clock }: AuthenticationParts,
  certificate: ClientCertificate,
): Principal {
  // Stops certificates of any other authority.
  if (!certificate.authorized)
    throw unauthenticated('This client certificate is not of this server’s making, or its time is over.');
  const issued = store.certificates.get(certificate.fingerprint);
  // A connection may outlive the certificate it began with.
  if (issued === undefined || issued.notAfter <= clock().getTime()) {
    throw unauthenticated('This client certificate’s time is over.', 'Show evidence for a new TLS key.');
  }
  // Stops an attester at once that was refused, or whose TPM was replaced, since the certificate was issued.
  if (store.claims.admittedAs(issued.attester)?.claim !== issued.claim)
    throw unauthenticated('This attester is not admitted any more.');
  if (nameIn(certificate, trustDomain) !== issued.attester) {
    throw unauthenticated('This client certificate names another attester than it was issued to.');
  }
  return { kind: 'attester', attester: issued.attester };
}

const names = new WeakMap<ClientCertificate, string>();

function nameIn(certificate: ClientCertificate, trustDomain: string): string {
  let name = names.get(certificate);
  if (name === undefined) {
    name = attesterOf(certificate.der, trustDomain);
    names.set(certificate, name);
  }
  return name;
}

function tokenPrincipal({ store, clock }: AuthenticationParts, authorization: string): Principal {
  const [, token] = /^Bearer ([A-Za-z0-9_-]{16,128})$/i.exec(authorization) ?? [];
  const holder = token === undefined ? undefined : store.tokens.holder(hashToken(token), clock().getTime());
  if (holder === undefined) throw unauthenticated('This bearer token is not in force.');
  return { kind: 'token', ...holder };
}

function unauthenticated(message: string, hint?: string): KallioError {
  return new KallioError('UNAUTHENTICATED' satisfies ProtocolCode, message, { hint });
}
