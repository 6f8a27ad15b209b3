import { parseCertificate } from './certificate.ts';
import { pkiError } from './error.ts';
import { alternativeNames } from './extensions.ts';

const LABEL = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;
/** uniformResourceIdentifier, IA5String (RFC 5280 section 4.2.1.6). */
const URI = 0x86;

/**
 * The attester that a client certificate names: its one URI must be `spiffe://<trust domain>/attester/<id>`, and it may
 * have no other name. Which authority issued it has been checked by TLS.
 */
export function attesterOf(certificateDer: Uint8Array, trustDomain: string): string {
  const [only, ...more] = alternativeNames(parseCertificate(certificateDer));
  // Attack: a certificate with two ids, of which one program checks the first and another the last.
  if (only === undefined || more.length > 0 || only.tag !== URI) {
    throw pkiError(
      'PKI_SPIFFE_ID',
      'A client certificate names exactly one thing: the SPIFFE id of an attester.',
    );
  }
  const id = new TextDecoder().decode(only.value);
  const prefix = `spiffe://${trustDomain}/attester/`;
  const attester = id.slice(prefix.length);
  if (!id.startsWith(prefix) || !LABEL.test(attester)) {
    throw pkiError('PKI_SPIFFE_ID', 'This client certificate names no attester of this trust domain.');
  }
  return attester;
}
