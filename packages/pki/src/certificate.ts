import { X509Certificate as NodeCertificate } from 'node:crypto';
import { toHex } from '@kallio/codec';
import { pkiError } from './error.ts';
import { x509 } from './x509.ts';

/** A certificate, parsed once. `node` checks signatures, `parsed` shows what node:crypto hides (critical flags, EKU). */
export interface Certificate {
  readonly der: Uint8Array;
  readonly parsed: x509.X509Certificate;
  readonly node: NodeCertificate;
  /** DER of the names, in hexadecimal: names are compared byte by byte. */
  readonly subject: string;
  readonly issuer: string;
}

/** Longest certificate read, in bytes. */
const MAX_CERTIFICATE = 8192;

/** Parses DER. Bytes after the certificate are refused: two readers might each see another one. */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE) throw malformed('it is longer than any EK certificate');
  try {
    const parsed = new x509.X509Certificate(der);
    const node = new NodeCertificate(der);
    if (node.raw.length !== der.length || parsed.rawData.byteLength !== der.length) {
      throw malformed('bytes follow it');
    }
    return {
      der,
      parsed,
      node,
      subject: toHex(new Uint8Array(parsed.subjectName.toArrayBuffer())),
      issuer: toHex(new Uint8Array(parsed.issuerName.toArrayBuffer())),
    };
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'KallioError') throw cause;
    throw malformed('it is not DER of an X.509 certificate', cause);
  }
}

/** The certificates of a PEM text, DER, in order. A text without any is refused. */
export function parsePemCertificates(text: string): Uint8Array[] {
  const blocks = [
    ...text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g),
  ];
  if (blocks.length === 0) throw malformed('no PEM block "CERTIFICATE" is in it');
  return blocks.map(([, base64]) => {
    const der = new Uint8Array(Buffer.from(base64 ?? '', 'base64'));
    return parseCertificate(der).der;
  });
}

function malformed(why: string, cause?: unknown) {
  return pkiError('PKI_CERTIFICATE_MALFORMED', `This is no certificate: ${why}.`, { cause });
}
