import { createPrivateKey, sign as signWith, webcrypto } from 'node:crypto';
import { concat, toHex } from '@kallio/codec';
import { allInside, inside, only, TAG } from '../src/der.ts';
import { x509 } from '../src/x509.ts';

/*
 * TPM makers for tests: authorities and EK certificates, honest unless a test says otherwise. What the library would
 * not write (a padded serial number, MD5) is put in by hand and signed again.
 */

/** When the tests take place. */
export const NOW = new Date('2026-06-01T12:00:00Z');
export const EK_USAGE = '2.23.133.8.1';
/** RFC 5280 section 4.1.2.5: no end. */
const NO_END = new Date('9999-12-31T23:59:59Z');

const ALGORITHMS = {
  p256: { name: 'ECDSA', namedCurve: 'P-256' },
  p384: { name: 'ECDSA', namedCurve: 'P-384' },
  rsa2048: rsa(2048),
  rsa1024: rsa(1024),
} as const;

function rsa(modulusLength: number) {
  const publicExponent = new Uint8Array([1, 0, 1]);
  return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength, publicExponent };
}

export type KeyKind = keyof typeof ALGORITHMS;

/** A key pair that WebCrypto signs with. */
export interface Keys {
  readonly kind: KeyKind;
  readonly publicKey: webcrypto.CryptoKey;
  readonly privateKey: webcrypto.CryptoKey;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/** A certificate, with the keys it certifies. */
export interface Made {
  readonly name: string;
  readonly der: Uint8Array;
  readonly keys: Keys;
}

/** What may be other than an honest maker does it. `null` leaves an extension out. */
export interface Shape {
  readonly keys?: Keys;
  readonly hash?: 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512';
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly constraints?: x509.Extension | null;
  readonly keyUsage?: x509.KeyUsageFlags | null;
  readonly usages?: readonly string[] | null;
  readonly names?: x509.Extension | null;
  readonly more?: readonly x509.Extension[];
}

export async function newKeys(kind: KeyKind = 'p256'): Promise<Keys> {
  const pair = (await webcrypto.subtle.generateKey(ALGORITHMS[kind], true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const spki = new Uint8Array(await webcrypto.subtle.exportKey('spki', pair.publicKey));
  return { kind, publicKey: pair.publicKey, privateKey: pair.privateKey, spki };
}

/** An authority of a maker: a root where no issuer is given. */
export async function authority(name: string, issuer?: Made, shape: Shape & { pathLength?: number } = {}) {
  const keys = shape.keys ?? (await newKeys());
  return make(name, issuer ?? { name, keys }, keys, {
    constraints: new x509.BasicConstraintsExtension(true, shape.pathLength, true),
    keyUsage: x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
    usages: null,
    names: null,
    notAfter: new Date('2046-01-01T00:00:00Z'),
    ...shape,
  });
}

/** An EK certificate as makers write them: no subject, a critical SAN, no end. */
export async function ekCertificate(issuer: Pick<Made, 'name' | 'keys'>, shape: Shape = {}): Promise<Made> {
  const keys = shape.keys ?? (await newKeys());
  return make('', issuer, keys, {
    constraints: new x509.BasicConstraintsExtension(false, undefined, true),
    keyUsage: keys.kind.startsWith('rsa')
      ? x509.KeyUsageFlags.keyEncipherment
      : x509.KeyUsageFlags.keyAgreement,
    usages: [EK_USAGE],
    names: tpmNames([MANUFACTURER, MODEL, VERSION]),
    notAfter: NO_END,
    ...shape,
  });
}

async function make(
  subject: string,
  issuer: Pick<Made, 'name' | 'keys'>,
  keys: Keys,
  shape: Shape,
): Promise<Made> {
  const { constraints, keyUsage, usages, names } = shape;
  const hash = shape.hash ?? 'SHA-256';
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: toHex(webcrypto.getRandomValues(new Uint8Array(15))).replace(/^./, '4'),
    subject: nameOf(subject),
    issuer: nameOf(issuer.name),
    notBefore: shape.notBefore ?? new Date('2016-01-01T00:00:00Z'),
    notAfter: shape.notAfter ?? NO_END,
    signingAlgorithm: { ...ALGORITHMS[issuer.keys.kind], hash },
    publicKey: keys.publicKey,
    signingKey: await forHash(issuer.keys, hash),
    extensions: [
      ...(constraints ? [constraints] : []),
      ...(keyUsage == null ? [] : [new x509.KeyUsagesExtension(keyUsage, true)]),
      ...(usages == null ? [] : [new x509.ExtendedKeyUsageExtension([...usages])]),
      ...(names ? [names] : []),
      ...(shape.more ?? []),
    ],
  });
  return { name: subject, der: new Uint8Array(certificate.rawData), keys };
}

/** EK certificates have an empty subject. */
function nameOf(name: string): x509.JsonName {
  return name === '' ? [] : [{ CN: [name] }];
}

/** WebCrypto binds an RSA key to its hash: the same key for another one. */
async function forHash({ kind, privateKey }: Keys, hash: string): Promise<webcrypto.CryptoKey> {
  if (!kind.startsWith('rsa')) return privateKey;
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', privateKey);
  return webcrypto.subtle.importKey('pkcs8', pkcs8, { name: 'RSASSA-PKCS1-v1_5', hash }, false, ['sign']);
}

/** The parts of a TBSCertificate that tests put in by hand, as DER. */
export interface Parts {
  version: Uint8Array;
  serial: Uint8Array;
  algorithm: Uint8Array;
  issuer: Uint8Array;
  validity: Uint8Array;
  subject: Uint8Array;
  spki: Uint8Array;
  extensions: Uint8Array;
}

/** The same certificate with other parts, signed again by its issuer. `outer` is the algorithm beside the signature. */
export async function remade(
  made: Made,
  issuer: Pick<Made, 'keys'>,
  change: (parts: Parts) => Partial<Parts>,
  { hash = 'sha256', outer }: { readonly hash?: string; readonly outer?: Uint8Array } = {},
): Promise<Made> {
  const [tbs] = allInside(only(made.der, TAG.sequence));
  if (tbs === undefined) throw new Error('no certificate');
  const [version, serial, algorithm, issuerName, validity, subject, spki, extensions] = allInside(tbs).map(
    ({ raw }) => raw,
  );
  if (!version || !serial || !algorithm || !issuerName || !validity || !subject || !spki || !extensions) {
    throw new Error('a part is missing');
  }
  const parts = { version, serial, algorithm, issuer: issuerName, validity, subject, spki, extensions };
  const changed = { ...parts, ...change(parts) };
  const body = tlv(TAG.sequence, ...Object.values(changed));
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', issuer.keys.privateKey));
  const signature = signWith(hash, body, createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }));
  const der = tlv(
    TAG.sequence,
    body,
    outer ?? changed.algorithm,
    tlv(TAG.bitString, new Uint8Array([0]), signature),
  );
  return { ...made, der };
}

/** DER of one value. */
export function tlv(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const value = concat(...contents);
  const { length } = value;
  const octets =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concat(new Uint8Array([tag, ...octets]), value);
}

/** DER of text in some string or time type. */
export function text(tag: number, value: string): Uint8Array {
  return tlv(tag, new TextEncoder().encode(value));
}

/** DER of an object identifier. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const octets = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift((left & 0x7f) | 0x80);
    }
    return groups;
  });
  return tlv(TAG.oid, new Uint8Array(octets));
}

/** DER of an extension list with one extension in another writing. */
export function rewriteExtension(parts: Parts, id: string, written: Uint8Array): Uint8Array {
  const wanted = toHex(oid(id));
  const list = allInside(inside(only(parts.extensions, 0xa3)).take(TAG.sequence));
  const others = list.map(({ raw, value }) => (toHex(value).startsWith(wanted) ? written : raw));
  return tlv(0xa3, tlv(TAG.sequence, ...others));
}

/** DER of an AttributeTypeAndValue. */
export function attribute(id: string, value: string, tag: number = TAG.utf8String): Uint8Array {
  return tlv(TAG.sequence, oid(id), text(tag, value));
}

export const MANUFACTURER = attribute('2.23.133.2.1', 'id:54455354');
export const MODEL = attribute('2.23.133.2.2', 'Test TPM');
export const VERSION = attribute('2.23.133.2.3', 'id:00070002');

/** A critical SAN with one directoryName: each argument is one RDN of one or more attributes. */
export function tpmNames(...rdns: readonly (readonly Uint8Array[])[]): x509.Extension {
  return rawNames(directoryName(...rdns));
}

/** A directoryName: the tag is explicit, for Name is a CHOICE. */
export function directoryName(...rdns: readonly (readonly Uint8Array[])[]): Uint8Array {
  const sets = rdns.map((attributes) => tlv(TAG.set, ...attributes));
  return tlv(0xa4, tlv(TAG.sequence, ...sets));
}

/** A critical SAN of these general names. */
export function rawNames(...names: readonly Uint8Array[]): x509.Extension {
  return new x509.Extension('2.5.29.17', true, new Uint8Array(tlv(TAG.sequence, ...names)));
}
