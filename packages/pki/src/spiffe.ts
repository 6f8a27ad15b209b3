import { parseCertificate } from './certificate.ts';
import { pkiError } from './error.ts';
import { x509 } from './x509.ts';

const LABEL = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;

/**
 * The attester that a client certificate names: its one URI must be `spiffe://<trust domain>/attester/<id>`, and it may
 * have no other name. Which authority issued it has been checked by TLS.
 */
export function attesterOf(certificateDer: Uint8Array, trustDomain: string): string {
  const { parsed } = parseCertificate(certificateDer);
  const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const [only, ...more] = names;
  // Attack: a certificate with two ids, of which one program checks the first and another the last.
  if (only === undefined || more.length > 0 || only.type !== 'url') {
    throw pkiError(
      'PKI_SPIFFE_ID',
      'A client certificate names exactly one thing: the SPIFFE id of an attester.',
    );
  }
  const prefix = `spiffe://${trustDomain}/attester/`;
  const attester = only.value.slice(prefix.length);
  if (!only.value.startsWith(prefix) || !LABEL.test(attester)) {
    throw pkiError('PKI_SPIFFE_ID', 'This client certificate names no attester of this trust domain.');
  }
  return attester;
}
