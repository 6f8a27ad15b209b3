import type { KeyObject } from 'node:crypto';
import { equalBytes, sha256, toHex } from '@kallio/codec';
import { type Certificate, nameText, parseCertificate, publicKeyOf } from './certificate.ts';
import { allInside, inside, oidOf, only, TAG } from './der.ts';
import { pkiError } from './error.ts';
import {
  alternativeNames,
  basicConstraints,
  extendedKeyUsages,
  OID,
  requireKnownExtensions,
  sanMalformed,
} from './extensions.ts';
import { isSignedBy, pathToRoot, requireValid } from './path.ts';

/** What a TPM maker's certificate chain says of an EK. */
export interface EkEndorsement {
  /** SubjectPublicKeyInfo of the certified EK, DER. */
  readonly spki: Uint8Array;
  /** Subject of the root that was reached, for people. */
  readonly root: string;
  /** SHA-256 of that root’s certificate, hexadecimal: what tells it from another of the same name. */
  readonly rootFingerprint: string;
  /** Subjects from the EK certificate's issuer to the root. */
  readonly path: readonly string[];
  /** From the subject alternative name, where it is there: the maker, model and version of the TPM. */
  readonly tpm: { readonly manufacturer?: string; readonly model?: string; readonly version?: string };
}

/** Most intermediates looked at. */
const MAX_INTERMEDIATES = 16;

/**
 * Checks an EK certificate up to one of the given roots: RFC 5280 section 6.1 as far as EK chains need it (no policies,
 * no name constraints, no revocation: a critical extension of such a kind is refused, not skipped), and the EK
 * Credential Profile. No root is trusted but those given. `now` is the time at which all must be valid; `ek` is the
 * SubjectPublicKeyInfo of the key that the certificate is shown for.
 */
export function verifyEkChain(input: {
  readonly certificate: Uint8Array;
  readonly intermediates: readonly Uint8Array[];
  readonly roots: readonly Uint8Array[];
  readonly now: Date;
  readonly ek?: Uint8Array;
}): EkEndorsement {
  // Attack: a request that costs more to read than it cost to make.
  if (input.intermediates.length > MAX_INTERMEDIATES) {
    throw pkiError(
      'PKI_TOO_MANY_CERTIFICATES',
      `${input.intermediates.length} intermediates came with one EK certificate; ${MAX_INTERMEDIATES} are the most.`,
    );
  }
  const leaf = parseCertificate(input.certificate, 'certificate');
  const spki = checkLeaf(leaf, input.now);
  // Attack: a genuine certificate, shown beside a key that software holds.
  if (input.ek !== undefined && !equalBytes(input.ek, spki)) {
    throw pkiError('PKI_EK_MISMATCH', 'The EK that was shown is not the one in the EK certificate.');
  }
  const tpm = tpmOf(leaf);
  const roots = input.roots.map((der, i) => parseCertificate(der, `roots/${i}`));
  const intermediates = input.intermediates.map((der, i) => parseCertificate(der, `intermediates/${i}`));
  const authorities = pathToRoot(leaf, { intermediates, roots, now: input.now });
  const path = authorities.map(({ subject }) => nameText(subject));
  const root = authorities[authorities.length - 1];
  const rootFingerprint = root === undefined ? '' : toHex(sha256(root.der));
  return { spki, root: path[path.length - 1] ?? '', rootFingerprint, path, tpm };
}

/**
 * The key that an EK certificate is for, whoever signed it. OpenSSL, and so `node:crypto`, can't read some makers'
 * certificates that are accepted here.
 */
export function certifiedKey(certificate: Uint8Array): KeyObject {
  return publicKeyOf(parseCertificate(certificate), 'The EK certificate', 'PKI_EK_WEAK');
}

function checkLeaf(leaf: Certificate, now: Date): Uint8Array {
  const what = 'The EK certificate';
  const key = publicKeyOf(leaf, what, 'PKI_EK_WEAK');
  // Attack: anyone can sign a certificate for a key of their own with that very key.
  if (isSignedBy(leaf, key)) {
    throw pkiError(
      'PKI_EK_SELF_SIGNED',
      'This EK certificate is signed by its own key: no TPM maker vouches for it.',
    );
  }
  requireValid(leaf, now, what);
  requireKnownExtensions(leaf, what);
  // Attack: a CA certificate of the same maker, shown as if its key were a TPM's.
  if (basicConstraints(leaf)?.ca === true) {
    throw pkiError('PKI_EK_IS_CA', 'This is a certificate of an authority, not of an EK.');
  }
  // Attack: a certificate that the maker issued for something else (a TLS server, a signing key).
  const usages = extendedKeyUsages(leaf);
  if (usages?.includes(OID.ekCertificate) !== true) {
    throw pkiError(
      'PKI_EK_USAGE',
      'This certificate is not for an EK: its extended key usage lacks 2.23.133.8.1.',
      {
        hint:
          usages === undefined
            ? 'It names no extended key usage at all, as certificates of TPM 1.2 do; those are not accepted.'
            : undefined,
      },
    );
  }
  return new Uint8Array(key.export({ format: 'der', type: 'spki' }));
}

/** TPM attributes by object identifier (EK Credential Profile 2.5 section 3.1.2). */
const TPM_ATTRIBUTES = new Map<string, keyof EkEndorsement['tpm']>([
  ['2.23.133.2.1', 'manufacturer'],
  ['2.23.133.2.2', 'model'],
  ['2.23.133.2.3', 'version'],
]);
const DIRECTORY_NAME = 0xa4;
const TEXTS: readonly number[] = [TAG.utf8String, TAG.printableString, TAG.ia5String];

/** What the directoryName of the SAN says, whether in one RDN (Nuvoton) or in one for each attribute (Intel, swtpm). */
function tpmOf(leaf: Certificate): EkEndorsement['tpm'] {
  const found: { manufacturer?: string; model?: string; version?: string } = {};
  for (const name of alternativeNames(leaf)) {
    if (name.tag !== DIRECTORY_NAME) continue;
    for (const [oid, value] of directoryAttributes(name.value)) {
      const attribute = TPM_ATTRIBUTES.get(oid);
      if (attribute === undefined) continue;
      // Attack: two makers in one certificate, of which one reader shows the first and another the last.
      if (found[attribute] !== undefined && found[attribute] !== value) throw sanMalformed();
      found[attribute] = value;
    }
  }
  return found;
}

function directoryAttributes(name: Uint8Array): (readonly [string, string])[] {
  try {
    return allInside(only(name, TAG.sequence)).flatMap((rdn) =>
      allInside(rdn).map((attribute) => {
        const fields = inside(attribute);
        const oid = oidOf(fields.take(TAG.oid));
        const { tag, value } = fields.any();
        return [oid, TEXTS.includes(tag) ? new TextDecoder().decode(value) : toHex(value)] as const;
      }),
    );
  } catch (cause) {
    throw sanMalformed(cause);
  }
}
