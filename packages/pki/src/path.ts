import { type KeyObject, verify } from 'node:crypto';
import { toHex } from '@kallio/codec';
import { type Certificate, nameText, publicKeyOf } from './certificate.ts';
import { isPkiError, pkiError } from './error.ts';
import {
  basicConstraints,
  extendedKeyUsages,
  maySignCertificates,
  OID,
  requireKnownExtensions,
} from './extensions.ts';

/** Longest path, the EK certificate not counted. */
const MAX_DEPTH = 6;
/** Most signature checks for one chain: a set of certificates that all issue each other costs no more than this. */
const MAX_CHECKS = 64;

/** What a signature's algorithm asks for (RFC 4055 section 5, RFC 5758 section 3.2). */
const SIGNATURES: ReadonlyMap<string, { readonly key: 'rsa' | 'ec'; readonly hash: string }> = new Map([
  ['1.2.840.113549.1.1.11', { key: 'rsa', hash: 'sha256' }],
  ['1.2.840.113549.1.1.12', { key: 'rsa', hash: 'sha384' }],
  ['1.2.840.113549.1.1.13', { key: 'rsa', hash: 'sha512' }],
  ['1.2.840.10045.4.3.2', { key: 'ec', hash: 'sha256' }],
  ['1.2.840.10045.4.3.3', { key: 'ec', hash: 'sha384' }],
  ['1.2.840.10045.4.3.4', { key: 'ec', hash: 'sha512' }],
]);

/** SHA-1 with RSA (PKCS #1 and OIW) and with ECDSA. */
const SHA1 = new Set(['1.2.840.113549.1.1.5', '1.3.14.3.2.29', '1.2.840.10045.4.1']);

/**
 * The authorities from the one that issued `leaf` up to a root (RFC 5280 section 6.1). Where there is no good path, the
 * refusal names what is wrong with the one that came nearest.
 */
export function pathToRoot(
  leaf: Certificate,
  given: {
    readonly intermediates: readonly Certificate[];
    readonly roots: readonly Certificate[];
    readonly now: Date;
  },
): readonly Certificate[] {
  return new PathSearch(given.intermediates, given.roots, given.now).from(leaf);
}

/** Depth-first over issuers, roots first. Every step is bounded. */
class PathSearch {
  readonly #intermediates: readonly Certificate[];
  readonly #roots: readonly Certificate[];
  readonly #now: Date;
  #checks = 0;
  /** Why the path that came nearest ended: the longest one, and of those the one with the plainest defect. */
  #nearest: { readonly length: number; readonly weight: number; readonly error: Error } | undefined;

  constructor(intermediates: readonly Certificate[], roots: readonly Certificate[], now: Date) {
    // The same certificate twice is one: a TPM may hold what was also given.
    this.#intermediates = [...new Map(intermediates.map((one) => [toHex(one.der), one])).values()];
    this.#roots = roots;
    this.#now = now;
  }

  /** Issuers from `leaf`'s own to a root; a refusal that names what is wrong where there is no good path. */
  from(leaf: Certificate): readonly Certificate[] {
    const found = this.#extend([leaf], leaf);
    if (found !== undefined) return found.slice(1);
    throw this.#nearest?.error ?? untrusted(leaf);
  }

  /** `path` ends with `child`, whose issuer is looked for. */
  #extend(path: readonly Certificate[], child: Certificate): readonly Certificate[] | undefined {
    this.#deadEnd(path, 0, untrusted(child));
    for (const root of this.#roots) {
      if (root.subject === child.issuer && this.#issued(root, child, path)) return [...path, root];
    }
    for (const next of this.#intermediates) {
      // An authority that signed itself and is not pinned is where a chain ends, not a loop.
      if (next.subject !== child.issuer || next === child) continue;
      if (path.includes(next)) {
        // Attack: authorities that issue each other, to keep the check busy.
        this.#deadEnd(
          path,
          2,
          pkiError(
            'PKI_CHAIN_LOOP',
            `The authorities above this EK issue each other: ${nameText(next.subject)}.`,
          ),
        );
        continue;
      }
      // Attack: a chain without end. One place is kept for the root.
      if (path.length >= MAX_DEPTH) {
        this.#deadEnd(
          path,
          2,
          pkiError('PKI_CHAIN_TOO_LONG', `More than ${MAX_DEPTH} authorities stand above this EK.`),
        );
        continue;
      }
      if (!this.#issued(next, child, path)) continue;
      const whole = this.#extend([...path, next], next);
      if (whole !== undefined) return whole;
    }
    return undefined;
  }

  /** Did `issuer` rightly issue `child`, the last of `path`? */
  #issued(issuer: Certificate, child: Certificate, path: readonly Certificate[]): boolean {
    // Attack: certificates of one name and key, each of which has issued all others.
    if (++this.#checks > MAX_CHECKS) {
      throw pkiError(
        'PKI_CHAIN_TOO_COMPLEX',
        `No root was found for this EK in ${MAX_CHECKS} signature checks.`,
        { hint: 'Give only the intermediates that stand between this EK and its root.' },
      );
    }
    try {
      const what = `The authority ${nameText(issuer.subject)}`;
      requireSignature(publicKeyOf(issuer, what, 'PKI_ISSUER_WEAK'), issuer, child);
      requireAuthority(issuer, path, this.#now, what);
      return true;
    } catch (error) {
      if (!isPkiError(error)) throw error;
      // An authority of the right name with another key is another authority: what else is wrong matters more.
      this.#deadEnd(path, error.code === 'PKI_SIGNATURE' ? 1 : 2, error);
      return false;
    }
  }

  #deadEnd(path: readonly Certificate[], weight: number, error: Error): void {
    const { length } = path;
    const nearest = this.#nearest;
    if (
      nearest === undefined ||
      length > nearest.length ||
      (length === nearest.length && weight > nearest.weight)
    ) {
      this.#nearest = { length, weight, error };
    }
  }
}

/** Attack: a chain that is right in all but where it ends: a maker of the attacker's own. */
function untrusted(last: Certificate) {
  return pkiError(
    'PKI_EK_UNTRUSTED',
    `No root that is trusted here vouches for this EK (last issuer: ${nameText(last.issuer)}).`,
    {
      hint: 'If you trust the maker, add its root certificate; if the chain lacks an intermediate, give that too.',
    },
  );
}

/** Refuses what may not issue the last certificate of `path`, which goes from the leaf upwards. */
export function requireAuthority(
  issuer: Certificate,
  path: readonly Certificate[],
  now: Date,
  what: string,
): void {
  requireValid(issuer, now, what);
  requireKnownExtensions(issuer, what);
  const constraints = basicConstraints(issuer);
  // Attack: a certificate from before there were constraints, of which nobody said that it may issue others.
  if (constraints === undefined) {
    throw pkiError('PKI_ISSUER_UNCONSTRAINED', `${what} has no basicConstraints (RFC 5280 section 6.1.4 k).`);
  }
  // Attack: the owner of any end certificate signs another one with it (RFC 5280 section 4.2.1.9).
  if (!constraints.ca) throw pkiError('PKI_ISSUER_NOT_CA', `${what} is not marked as an authority.`);
  // Attack: an authority for devices makes an authority of its own. One that renews itself is not counted.
  const below = path.slice(1).filter((one) => one.subject !== one.issuer).length;
  if (below > constraints.pathLength) {
    throw pkiError(
      'PKI_PATH_LENGTH',
      `${what} may stand at most ${constraints.pathLength} authorities above the EK's own.`,
    );
  }
  // Attack: a key that its owner keeps less well, because it was never to sign certificates.
  if (!maySignCertificates(issuer)) {
    throw pkiError('PKI_ISSUER_KEY_USAGE', `${what} has a key that may not sign certificates.`);
  }
  // Attack: a maker's authority for something else (TLS, platform certificates) vouches for an EK.
  const usages = extendedKeyUsages(issuer);
  if (usages !== undefined && !usages.includes(OID.ekCertificate) && !usages.includes(OID.anyUsage)) {
    throw pkiError('PKI_ISSUER_USAGE', `${what} is limited to uses among which EK certificates are not.`);
  }
}

function requireSignature(key: KeyObject, issuer: Certificate, child: Certificate): void {
  const subject = nameText(child.subject);
  // Attack: SHA-1 collisions make two certificates out of one signature.
  if (SHA1.has(child.signatureAlgorithm)) {
    throw pkiError('PKI_SHA1', `The certificate of ${subject} is signed over SHA-1, which proves nothing.`);
  }
  // Attack: MD5, or an algorithm that nobody here has thought about.
  if (!SIGNATURES.has(child.signatureAlgorithm)) {
    throw pkiError(
      'PKI_SIGNATURE_ALGORITHM',
      `The certificate of ${subject} is signed by an algorithm that is not accepted: ${child.signatureAlgorithm}.`,
      { pointer: child.signatureAlgorithm },
    );
  }
  // Attack: the maker's name over the attacker's key.
  if (!isSignedBy(child, key)) {
    throw pkiError(
      'PKI_SIGNATURE',
      `The certificate of ${subject} is not signed by ${nameText(issuer.subject)}.`,
    );
  }
}

/** Is this signature by that key, and by an algorithm that is accepted? */
export function isSignedBy({ tbs, signature, signatureAlgorithm }: Certificate, key: KeyObject): boolean {
  const algorithm = SIGNATURES.get(signatureAlgorithm);
  // A key of the other kind can't have made it.
  if (algorithm === undefined || key.asymmetricKeyType !== algorithm.key) return false;
  return verify(algorithm.hash, tbs, key, signature);
}

/** Refuses a certificate before and after its time. */
export function requireValid({ notBefore, notAfter }: Certificate, now: Date, what: string): void {
  // Attack: a certificate made ahead of its time, by a maker that may not be what it was when the time comes.
  if (now < notBefore) {
    throw pkiError('PKI_NOT_YET_VALID', `${what} is not valid before ${notBefore.toISOString()}.`);
  }
  // Attack: a key whose maker no longer answers for it. 9999-12-31 says "no end" (RFC 5280 section 4.1.2.5).
  if (now > notAfter) throw pkiError('PKI_EXPIRED', `${what} ended on ${notAfter.toISOString()}.`);
}
