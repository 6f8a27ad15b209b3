import { parseCertificate } from './certificate.ts';
import { pkiError } from './error.ts';
import { alternativeNames } from './extensions.ts';

const LABEL = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;
/** uniformResourceIdentifier, IA5String (RFC 5280 section 4.2.1.6). */
const URI = 0x86;

/** The SPIFFE id of an attester, as `attesterOf` reads it (SPIFFE-ID section 2). */
export function spiffeId(trustDomain: string, attester: string): string {
  // Attack: an id with a slash or a second domain in it, which is then issued by the book.
  if (!LABEL.test(attester)) throw pkiError('PKI_SPIFFE_ID', 'This is no id of an attester.');
  return `${prefixOf(trustDomain)}${attester}`;
}

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
  const id = Buffer.from(only.value).toString('latin1');
  const prefix = prefixOf(trustDomain);
  const attester = id.slice(prefix.length);
  if (!id.startsWith(prefix) || !LABEL.test(attester)) {
    throw pkiError('PKI_SPIFFE_ID', 'This client certificate names no attester of this trust domain.');
  }
  return attester;
}

function prefixOf(trustDomain: string): string {
  return `spiffe://${trustDomain}/attester/`;
}
