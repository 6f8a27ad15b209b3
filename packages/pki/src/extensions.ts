import type { Certificate } from './certificate.ts';
import { allInside, booleanOf, inside, malformed, oidOf, only, TAG, type Tlv } from './der.ts';
import { pkiError } from './error.ts';

/** Extensions that are acted on, and key purposes. */
export const OID = {
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  /** tcg-kp-EKCertificate (EK Credential Profile 2.5 section 3.2.16). */
  ekCertificate: '2.23.133.8.1',
  anyUsage: '2.5.29.37.0',
} as const;

/**
 * What may be critical: those this check acts on, and those that restrict nothing on the path of an EK: subject
 * directory attributes, key identifiers, certificate policies (RFC 5280 section 6.1 without required policies).
 */
const UNDERSTOOD = new Set<string>([
  OID.subjectAltName,
  OID.basicConstraints,
  OID.keyUsage,
  OID.extendedKeyUsage,
  '2.5.29.9',
  '2.5.29.14',
  '2.5.29.32',
  '2.5.29.35',
]);

/** Attack: a critical extension that restricts the certificate, in words this check does not understand. */
export function requireKnownExtensions({ extensions }: Certificate, what: string): void {
  for (const [oid, { critical }] of extensions) {
    if (critical && !UNDERSTOOD.has(oid)) {
      throw pkiError(
        'PKI_CRITICAL_EXTENSION',
        `${what} has a critical extension, ${oid}, that is not known here.`,
        { pointer: oid },
      );
    }
  }
}

/** RFC 5280 section 4.2.1.9. Intel and others write the default `cA FALSE` out; it means what it says. */
export function basicConstraints({ extensions }: Certificate) {
  const extension = extensions.get(OID.basicConstraints);
  if (extension === undefined) return undefined;
  const fields = inside(only(extension.value, TAG.sequence));
  const ca = fields.takeIf(TAG.boolean);
  const pathLength = fields.takeIf(TAG.integer);
  fields.end();
  return {
    ca: ca !== undefined && booleanOf(ca),
    pathLength: pathLength === undefined ? Number.POSITIVE_INFINITY : smallOf(pathLength.value),
  };
}

function smallOf(value: Uint8Array): number {
  const [octet] = value;
  // No chain is so long that its limit would need two octets; a negative limit would be none.
  if (octet === undefined || value.length > 1 || octet > 0x7f)
    throw malformed('its path length is not a small number');
  return octet;
}

/** RFC 5280 section 4.2.1.3: bit 5 is keyCertSign. An authority without the extension may sign. */
export function maySignCertificates({ extensions }: Certificate): boolean {
  const extension = extensions.get(OID.keyUsage);
  if (extension === undefined) return true;
  const { value } = only(extension.value, TAG.bitString);
  return ((value[1] ?? 0) & 0x04) !== 0;
}

/** RFC 5280 section 4.2.1.12: the purposes a certificate is limited to; undefined where it is not. */
export function extendedKeyUsages({ extensions }: Certificate): readonly string[] | undefined {
  const extension = extensions.get(OID.extendedKeyUsage);
  return extension && allInside(only(extension.value, TAG.sequence)).map(oidOf);
}

/** The general names of the subject alternative name (RFC 5280 section 4.2.1.6); none where it is absent. */
export function alternativeNames({ extensions }: Certificate): Tlv[] {
  const extension = extensions.get(OID.subjectAltName);
  if (extension === undefined) return [];
  try {
    return allInside(only(extension.value, TAG.sequence));
  } catch (cause) {
    throw sanMalformed(cause);
  }
}

/** A refusal of a subject alternative name that can't be read. */
export function sanMalformed(cause?: unknown) {
  return pkiError('PKI_SAN_MALFORMED', 'The subject alternative name of this certificate can’t be read.', {
    cause,
  });
}
