import { createPublicKey, type KeyObject } from 'node:crypto';
import { toHex } from '@kallio/codec';
import {
  allInside,
  booleanOf,
  DerReader,
  inside,
  malformed,
  octetsOf,
  oidOf,
  only,
  TAG,
  type Tlv,
  timeOf,
} from './der.ts';
import { isPkiError, pkiError } from './error.ts';
import { x509 } from './x509.ts';

/** One extension: `value` is the DER inside its OCTET STRING. */
interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** A certificate (RFC 5280 section 4.1), read once and by one reader. Nothing in it is believed yet. */
export interface Certificate {
  readonly der: Uint8Array;
  /** What the signature is over, as it stood. */
  readonly tbs: Uint8Array;
  /** Object identifier of the signature's algorithm. */
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
  /**
   * DER of the names as they stood, in hexadecimal: names are compared byte by byte. A reader that writes them anew
   * loses the names of makers that do not sort the parts of a SET.
   */
  readonly subject: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** By object identifier. */
  readonly extensions: ReadonlyMap<string, Extension>;
}

/** Longest certificate read, in bytes. */
const MAX_CERTIFICATE = 8192;

/**
 * Reads DER. Bytes after the certificate are refused, as is a value that DER would write otherwise in what decides:
 * two readers might each see another certificate. `pointer` says where it came from.
 */
export function parseCertificate(der: Uint8Array, pointer?: string): Certificate {
  try {
    return read(der);
  } catch (error) {
    if (!isPkiError(error) || pointer === undefined) throw error;
    throw pkiError(error.code, error.message, { pointer, hint: error.hint, cause: error.cause });
  }
}

function read(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE) throw malformed('it is longer than any EK certificate');
  const outer = new DerReader(der);
  const certificate = readParts(der, inside(outer.take(TAG.sequence)));
  if (outer.done) return certificate;
  // Attack: one reader takes the first certificate of the bytes, another the last.
  throw pkiError('PKI_TRAILING_BYTES', `${der.length - outer.position} bytes follow the certificate.`, {
    hint: 'Some makers fill up the NV index with 0x00 or 0xff: cut off what follows the certificate where it is read.',
  });
}

function readParts(der: Uint8Array, whole: DerReader): Certificate {
  const tbs = whole.take(TAG.sequence);
  const algorithm = whole.take(TAG.sequence);
  const signature = octetsOf(whole.take(TAG.bitString));
  whole.end();

  const fields = inside(tbs);
  fields.takeIf(0xa0);
  // Not looked into: some Nuvoton serial numbers begin with a zero that DER forbids, and nothing rests on them.
  fields.take(TAG.integer);
  // Attack: an algorithm that is not part of what was signed (RFC 5280 section 4.1.1.2).
  if (toHex(fields.take(TAG.sequence).raw) !== toHex(algorithm.raw)) {
    throw malformed('it names two signature algorithms');
  }
  const issuer = fields.take(TAG.sequence);
  const [notBefore, notAfter, ...more] = allInside(fields.take(TAG.sequence));
  if (notBefore === undefined || notAfter === undefined || more.length > 0) {
    throw malformed('its validity is not two times');
  }
  const subject = fields.take(TAG.sequence);
  const spki = fields.take(TAG.sequence);
  // Unique identifiers of issuer and subject, which no maker writes any more.
  fields.takeIf(0x81);
  fields.takeIf(0x82);
  const extensions = fields.takeIf(0xa3);
  fields.end();
  return {
    der,
    tbs: tbs.raw,
    signatureAlgorithm: oidOf(inside(algorithm).take(TAG.oid)),
    signature,
    subject: toHex(subject.raw),
    issuer: toHex(issuer.raw),
    notBefore: timeOf(notBefore),
    notAfter: timeOf(notAfter),
    spki: spki.raw,
    extensions: extensions === undefined ? new Map() : readExtensions(extensions),
  };
}

function readExtensions(explicit: Tlv): Map<string, Extension> {
  const found = new Map<string, Extension>();
  const wrapper = inside(explicit);
  for (const one of allInside(wrapper.take(TAG.sequence))) {
    const fields = inside(one);
    const oid = oidOf(fields.take(TAG.oid));
    // Intel writes the default FALSE out, which DER forbids: it means what it says.
    const critical = fields.takeIf(TAG.boolean);
    const { value } = fields.take(TAG.octetString);
    fields.end();
    // Attack: two of a kind, of which one reader believes the first and another the last (RFC 5280 section 4.2).
    if (found.has(oid)) {
      throw pkiError('PKI_EXTENSION_TWICE', `This certificate has the extension ${oid} twice.`, {
        pointer: oid,
      });
    }
    found.set(oid, { critical: critical !== undefined && booleanOf(critical), value });
  }
  wrapper.end();
  return found;
}

const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const RSAES_OAEP = '1.2.840.113549.1.1.7';
const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const CURVES: readonly (string | undefined)[] = ['prime256v1', 'secp384r1', 'secp521r1'];
/** Longer ones cost more time to check than any maker's is worth. */
const MAX_RSA_BITS = 8192;
const MIN_RSA_BITS = 2048;

/**
 * The certified key: RSA of 2048 to 8192 bits, or a NIST curve. `PKI_KEY_ALGORITHM` for other kinds, `weak` for RSA
 * that can be factored.
 */
export function publicKeyOf(
  { spki }: Certificate,
  what: string,
  weak: 'PKI_EK_WEAK' | 'PKI_ISSUER_WEAK',
): KeyObject {
  const algorithm = oidOf(inside(inside(only(spki, TAG.sequence)).take(TAG.sequence)).take(TAG.oid));
  if (algorithm === RSAES_OAEP) {
    throw pkiError(
      'PKI_KEY_ALGORITHM',
      `${what} has a key marked id-RSAES-OAEP, as the EK certificates of TPM 1.2 have; only TPM 2.0 is attested.`,
    );
  }
  const key = algorithm === RSA_ENCRYPTION || algorithm === EC_PUBLIC_KEY ? importKey(spki) : undefined;
  const bits = key?.asymmetricKeyDetails?.modulusLength;
  // Attack: a modulus that can be factored.
  if (bits !== undefined && bits < MIN_RSA_BITS) {
    throw pkiError(weak, `${what} has an RSA key of ${bits} bits; ${MIN_RSA_BITS} is the least.`);
  }
  const known =
    bits === undefined ? CURVES.includes(key?.asymmetricKeyDetails?.namedCurve) : bits <= MAX_RSA_BITS;
  // Attack: a curve or a length that makes the check itself weak or slow.
  if (key === undefined || !known) {
    throw pkiError(
      'PKI_KEY_ALGORITHM',
      `${what} has a key that is neither RSA of ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits nor on P-256, P-384 or P-521.`,
      { pointer: algorithm },
    );
  }
  return key;
}

function importKey(spki: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

/** Longest name shown: the rest of a longer one helps nobody. */
const MAX_TEXT = 200;

/** A name for people, from its DER in hexadecimal. */
export function nameText(hex: string): string {
  const der = Buffer.from(hex, 'hex');
  try {
    const text = new x509.Name(der).toString();
    return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  } catch {
    return 'a name that can’t be read';
  }
}

/** The certificates of a PEM text, DER, in order. A text without any, or with a damaged one, is refused. */
export function parsePemCertificates(text: string): Uint8Array[] {
  const blocks = [
    ...text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g),
  ];
  if (blocks.length === 0) throw malformed('no PEM block "CERTIFICATE" is in it');
  // A root that is silently left out would be missed much later, and elsewhere.
  if (blocks.length !== text.split('-----BEGIN CERTIFICATE-----').length - 1) {
    throw malformed('a PEM block "CERTIFICATE" in it is damaged');
  }
  return blocks.map(([, base64]) => {
    const der = new Uint8Array(Buffer.from(base64 ?? '', 'base64'));
    return parseCertificate(der).der;
  });
}
