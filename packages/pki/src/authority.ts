import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { toHex } from '@kallio/codec';
import { pkiError } from './error.ts';
import { spiffeId } from './spiffe.ts';
import { x509 } from './x509.ts';

/** A certificate and its private key, PEM. */
export interface KeyedCertificate {
  readonly certificate: string;
  /** PKCS #8. */
  readonly key: string;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY = 86_400_000;
/** Clocks differ: what is issued now is valid for those who are a little behind. */
const LEEWAY_MS = 5 * 60_000;

/** A private authority that signs end certificates only: P-256, pathLen 0. */
export async function createAuthority(name: string, now: Date, days: number): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ CN: [name] }],
    notBefore: new Date(now.getTime() - LEEWAY_MS),
    notAfter: new Date(now.getTime() + days * DAY),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await exportKey(keys.privateKey) };
}

/** A TLS server certificate with a key of its own, for DNS names and IP addresses. */
export async function issueServerCertificate(
  authority: KeyedCertificate,
  subject: { readonly names: readonly string[]; readonly now: Date; readonly days: number },
): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const certificate = await issue(authority, {
    name: subject.names[0] ?? 'kallio',
    publicKey: keys.publicKey,
    names: subject.names.map((name) => ({ type: isIP(name) === 0 ? 'dns' : 'ip', value: name })),
    usage: x509.ExtendedKeyUsage.serverAuth,
    now: subject.now,
    until: new Date(subject.now.getTime() + subject.days * DAY),
  });
  return { certificate, key: await exportKey(keys.privateKey) };
}

/** A short-lived TLS client certificate for an attester's key, naming it by its SPIFFE id (X.509-SVID section 2). */
export async function issueAttesterCertificate(
  authority: KeyedCertificate,
  subject: {
    /** SubjectPublicKeyInfo, DER, P-256. */
    readonly spki: Uint8Array;
    readonly trustDomain: string;
    readonly attester: string;
    readonly now: Date;
    readonly seconds: number;
  },
): Promise<string> {
  const publicKey = await importP256(subject.spki);
  return issue(authority, {
    name: subject.attester,
    publicKey,
    names: [{ type: 'url', value: spiffeId(subject.trustDomain, subject.attester) }],
    usage: x509.ExtendedKeyUsage.clientAuth,
    now: subject.now,
    until: new Date(subject.now.getTime() + subject.seconds * 1000),
  });
}

interface Subject {
  readonly name: string;
  readonly publicKey: webcrypto.CryptoKey;
  readonly names: readonly { readonly type: 'dns' | 'ip' | 'url'; readonly value: string }[];
  readonly usage: x509.ExtendedKeyUsage;
  readonly now: Date;
  readonly until: Date;
}

async function issue(authority: KeyedCertificate, subject: Subject): Promise<string> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const pkcs8 = createPrivateKey(authority.key).export({ format: 'der', type: 'pkcs8' });
  const signingKey = await webcrypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), ALGORITHM, false, [
    'sign',
  ]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [subject.name] }],
    issuer: issuer.subjectName,
    notBefore: new Date(subject.now.getTime() - LEEWAY_MS),
    notAfter: subject.until,
    signingAlgorithm: ALGORITHM,
    publicKey: subject.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([subject.usage]),
      new x509.SubjectAlternativeNameExtension([...subject.names]),
      await x509.SubjectKeyIdentifierExtension.create(subject.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return pem(certificate);
}

async function importP256(spki: Uint8Array): Promise<webcrypto.CryptoKey> {
  try {
    return await webcrypto.subtle.importKey('spki', new Uint8Array(spki), ALGORITHM, true, ['verify']);
  } catch (cause) {
    throw pkiError('PKI_KEY_ALGORITHM', 'A certificate is issued for a key on P-256 only.', { cause });
  }
}

function newKeys() {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const imported = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  // A key that could not make its public half again is not written anywhere.
  createPublicKey(imported);
  return imported.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/** 127 random bits, positive (RFC 5280 section 4.1.2.2). */
function serial(): string {
  const bytes = new Uint8Array(randomBytes(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return toHex(bytes);
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}
