import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { issueServerCertificate } from '@kallio/pki';
import { writeDurably } from './files.ts';
import type { Layout } from './layout.ts';

/** Days of the server's own TLS certificate; it renews itself in time. */
const DAYS = 90;
const RENEW_BEFORE_DAYS = 30;

/** Certificate and key of the TLS listener as one PEM text; renewed first when it nears its end or lacks a name. */
export async function serverTls(layout: Layout, names: readonly string[], now: Date): Promise<string> {
  const pem = readFileSync(layout.serverTls, 'utf8');
  return stillGood(pem, names, now) ? pem : renewServerTls(layout, names, now);
}

/** Issues the TLS listener a certificate from the server's own authority, and stores it with its key. */
export async function renewServerTls(layout: Layout, names: readonly string[], now: Date): Promise<string> {
  const authority = {
    certificate: readFileSync(layout.ca, 'utf8'),
    key: readFileSync(layout.serverAuthorityKey, 'utf8'),
  };
  const tls = await issueServerCertificate(authority, { names: [...names], now, days: DAYS });
  const pem = `${tls.certificate.trimEnd()}\n${tls.key.trimEnd()}\n`;
  writeDurably(layout.serverTls, pem);
  return pem;
}

function stillGood(pem: string, names: readonly string[], now: Date): boolean {
  const certificate = new X509Certificate(pem);
  const left = certificate.validToDate.getTime() - now.getTime();
  const covers = (name: string) =>
    (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined;
  return left > RENEW_BEFORE_DAYS * 86_400_000 && names.every(covers);
}
