import { type Certificate, parseCertificate } from './certificate.ts';
import { pkiError } from './error.ts';
import { x509 } from './x509.ts';

/** What a TPM maker's certificate chain says of an EK. */
export interface EkEndorsement {
  /** SubjectPublicKeyInfo of the certified EK, DER. */
  readonly spki: Uint8Array;
  /** Subject of the root that was reached, for people. */
  readonly root: string;
  /** Subjects from the EK certificate's issuer to the root. */
  readonly path: readonly string[];
  /** From the subject alternative name, where it is there: the maker, model and version of the TPM. */
  readonly tpm: { readonly manufacturer?: string; readonly model?: string; readonly version?: string };
}

/** Longest path, the EK certificate not counted. */
const MAX_DEPTH = 6;
/** Most signature checks for one chain: a set of certificates that all issue each other costs no more than this. */
const MAX_CHECKS = 64;

const OID = {
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  /** Understood, and without effect on the path of an EK certificate. */
  harmless: new Set(['2.5.29.9', '2.5.29.14', '2.5.29.31', '2.5.29.32', '2.5.29.35', '1.3.6.1.5.5.7.1.1']),
  /** tcg-kp-EKCertificate (EK Credential Profile 2.5 section 3.2.16). */
  ekCertificate: '2.23.133.8.1',
  anyUsage: '2.5.29.37.0',
} as const;

/**
 * Checks an EK certificate up to one of the given roots: RFC 5280 section 6.1 as far as EK chains need it (no policies,
 * no name constraints: a critical extension of such a kind is refused, not skipped), and the EK Credential Profile.
 * No root is trusted but those given. `now` is the time at which all must be valid.
 */
export function verifyEkChain(input: {
  readonly certificate: Uint8Array;
  readonly intermediates: readonly Uint8Array[];
  readonly roots: readonly Uint8Array[];
  readonly now: Date;
}): EkEndorsement {
  const leaf = parseCertificate(input.certificate);
  checkLeaf(leaf, input.now);
  const roots = input.roots.map(parseCertificate);
  const intermediates = input.intermediates.map(parseCertificate);
  const search = new PathSearch(intermediates, roots, input.now);
  const path = search.from(leaf);
  const [root] = path.slice(-1);
  if (root === undefined) throw search.refusal(leaf);
  return {
    spki: new Uint8Array(leaf.node.publicKey.export({ format: 'der', type: 'spki' })),
    root: root.parsed.subject,
    path: path.map((certificate) => certificate.parsed.subject),
    tpm: tpmOf(leaf),
  };
}

function checkLeaf(leaf: Certificate, now: Date): void {
  // Attack: anyone can sign a certificate for a key of their own with that very key.
  if (leaf.subject === leaf.issuer && leaf.node.verify(leaf.node.publicKey)) {
    throw pkiError(
      'PKI_EK_SELF_SIGNED',
      'This EK certificate is signed by its own key: no TPM maker vouches for it.',
    );
  }
  requireValid(leaf, now, 'The EK certificate');
  requireKnownExtensions(leaf, 'The EK certificate');
  // Attack: a CA certificate of the same maker, shown as if its key were a TPM's.
  if (basicConstraints(leaf)?.ca === true) {
    throw pkiError('PKI_EK_IS_CA', 'This is a certificate of an authority, not of an EK.');
  }
  // Attack: a certificate that the maker issued for something else (a TLS server, a signing key).
  const usages = leaf.parsed.getExtension(x509.ExtendedKeyUsageExtension)?.usages ?? [];
  if (!usages.map(String).includes(OID.ekCertificate)) {
    throw pkiError(
      'PKI_EK_USAGE',
      'This certificate is not for an EK: its extended key usage lacks 2.23.133.8.1.',
      {
        hint:
          usages.length === 0
            ? 'It names no extended key usage at all, as some makers’ early certificates do; those are not accepted.'
            : undefined,
      },
    );
  }
  const key = leaf.node.publicKey;
  const details = key.asymmetricKeyDetails;
  // Attack: a modulus that can be factored.
  if (key.asymmetricKeyType === 'rsa' && (details?.modulusLength ?? 0) < 2048) {
    throw pkiError('PKI_EK_WEAK', `An EK of ${details?.modulusLength} bits is too short; 2048 is the least.`);
  }
}

/** Depth-first over issuers, roots first. Every step is bounded. */
class PathSearch {
  readonly #intermediates: readonly Certificate[];
  readonly #roots: readonly Certificate[];
  readonly #now: Date;
  #checks = 0;
  #nearest: Error | undefined;

  constructor(intermediates: readonly Certificate[], roots: readonly Certificate[], now: Date) {
    this.#intermediates = intermediates;
    this.#roots = roots;
    this.#now = now;
  }

  /** Issuers from `leaf`'s own to a root; empty when there is no good path. */
  from(leaf: Certificate): readonly Certificate[] {
    return this.#extend([leaf]) ?? [];
  }

  /** Why no path was found: the defect of the certificate that came nearest, or that none was there. */
  refusal(leaf: Certificate): Error {
    return (
      this.#nearest ??
      pkiError(
        'PKI_EK_UNTRUSTED',
        `No root that is trusted here vouches for this EK (issuer: ${leaf.parsed.issuer}).`,
        {
          hint: 'If you trust the maker, add its root certificate; if the chain lacks an intermediate, give that too.',
        },
      )
    );
  }

  #extend(path: readonly Certificate[]): readonly Certificate[] | undefined {
    const child = path[path.length - 1];
    if (child === undefined || path.length > MAX_DEPTH) return undefined;
    for (const root of this.#roots) {
      if (root.subject === child.issuer && this.#issued(root, child, path.length - 1))
        return [...path.slice(1), root];
    }
    for (const next of this.#intermediates) {
      if (next.subject !== child.issuer || path.includes(next) || !this.#issued(next, child, path.length - 1))
        continue;
      const whole = this.#extend([...path, next]);
      if (whole !== undefined) return whole;
    }
    return undefined;
  }

  /** Did `issuer` rightly issue `child`? `below` counts the authorities between it and the leaf. */
  #issued(issuer: Certificate, child: Certificate, below: number): boolean {
    if (++this.#checks > MAX_CHECKS) return false;
    try {
      requireAuthority(issuer, below, this.#now);
      requireSignature(issuer, child);
      return true;
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'KallioError') throw error;
      this.#nearest ??= error;
      return false;
    }
  }
}

function requireAuthority(issuer: Certificate, below: number, now: Date): void {
  const what = `The authority ${issuer.parsed.subject}`;
  requireValid(issuer, now, what);
  requireKnownExtensions(issuer, what);
  const constraints = basicConstraints(issuer);
  // Attack: the owner of any end certificate signs another one with it (RFC 5280 section 4.2.1.9).
  if (constraints?.ca !== true) throw pkiError('PKI_ISSUER_NOT_CA', `${what} is not marked as an authority.`);
  // Attack: an authority for devices makes an authority of its own.
  if (constraints.pathLength !== undefined && below > constraints.pathLength) {
    throw pkiError(
      'PKI_PATH_LENGTH',
      `${what} may stand at most ${constraints.pathLength} authorities above the EK.`,
    );
  }
  const usage = issuer.parsed.getExtension(x509.KeyUsagesExtension);
  if (usage !== null && (usage.usages & x509.KeyUsageFlags.keyCertSign) === 0) {
    throw pkiError('PKI_ISSUER_KEY_USAGE', `${what} has a key that may not sign certificates.`);
  }
}

function requireSignature(issuer: Certificate, child: Certificate): void {
  const { hash } = child.parsed.signatureAlgorithm;
  const name = typeof hash === 'string' ? hash : hash?.name;
  // Attack: SHA-1 collisions make two certificates out of one signature.
  if (name === 'SHA-1') {
    throw pkiError(
      'PKI_SHA1',
      `The certificate of ${child.parsed.subject} is signed over SHA-1, which proves nothing.`,
    );
  }
  if (!child.node.verify(issuer.node.publicKey)) {
    throw pkiError(
      'PKI_SIGNATURE',
      `The certificate of ${child.parsed.subject} is not signed by ${issuer.parsed.subject}.`,
    );
  }
}

function requireValid({ parsed }: Certificate, now: Date, what: string): void {
  if (now < parsed.notBefore) {
    throw pkiError('PKI_EK_VALIDITY', `${what} is not valid before ${parsed.notBefore.toISOString()}.`);
  }
  // A notAfter of 9999-12-31 says "no end" (RFC 5280 section 4.1.2.5), as EK certificates do.
  if (now > parsed.notAfter) {
    throw pkiError('PKI_EK_VALIDITY', `${what} ended on ${parsed.notAfter.toISOString()}.`);
  }
}

/** Attack: a critical extension that restricts the certificate, in words this check does not understand. */
function requireKnownExtensions({ parsed }: Certificate, what: string): void {
  const understood = new Set<string>([
    OID.subjectAltName,
    OID.basicConstraints,
    OID.keyUsage,
    OID.extendedKeyUsage,
    ...OID.harmless,
  ]);
  for (const extension of parsed.extensions) {
    if (extension.critical && !understood.has(extension.type)) {
      throw pkiError(
        'PKI_CRITICAL_EXTENSION',
        `${what} has a critical extension, ${extension.type}, that is not known here.`,
        {
          pointer: extension.type,
        },
      );
    }
  }
}

function basicConstraints({ parsed }: Certificate) {
  return parsed.getExtension(x509.BasicConstraintsExtension) ?? undefined;
}

/** TPM manufacturer, model and version in the directoryName of the SAN (EK Credential Profile 2.5 section 3.1.2). */
function tpmOf({ parsed }: Certificate): EkEndorsement['tpm'] {
  const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const found: { manufacturer?: string; model?: string; version?: string } = {};
  for (const name of names) {
    if (name.type !== 'dn') continue;
    for (const part of new x509.Name(name.value).toJSON()) {
      const value = (oid: string) => part[oid]?.[0];
      found.manufacturer ??= value('2.23.133.2.1') ?? '';
      found.model ??= value('2.23.133.2.2') ?? '';
      found.version ??= value('2.23.133.2.3') ?? '';
    }
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== ''));
}
