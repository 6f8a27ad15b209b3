import { KallioError } from '@kallio/codec';
import { certifiedKey } from '@kallio/pki';
import {
  createPrimary,
  EK_NV,
  type EkKind,
  ekTemplate,
  flushContext,
  HANDLE,
  type Loaded,
  nvRead,
  nvReadPublic,
  type Tpm,
} from '@kallio/tpm';
import { parsePublic, publicKeyOf } from '@kallio/tpm/structures';
import type { IdentityCode } from './error.ts';

/** An EK certificate and how to make its key again. */
export interface Endorsement {
  readonly kind: EkKind;
  /** DER. */
  readonly certificate: Uint8Array;
  /** DER, as the TPM holds them. */
  readonly intermediates: readonly Uint8Array[];
  /** TPMT_PUBLIC. */
  readonly public: Uint8Array;
}

/** ECC first: its primary is made in milliseconds, an RSA one may take seconds. */
const ORDER: readonly (readonly [EkKind, number])[] = [
  ['ecc-p384', EK_NV.eccP384],
  ['ecc-p256', EK_NV.eccP256],
  ['rsa2048', EK_NV.rsa2048],
];

/** Reads the EK certificate from the TPM, and the public area of the key that it certifies. */
export async function readEndorsement(tpm: Tpm): Promise<Endorsement> {
  for (const [kind, index] of ORDER) {
    const nv = await nvReadPublic(tpm, index);
    if (nv === undefined) continue;
    const certificate = trimDer(await nvRead(tpm, nv));
    const ek = await loadEk(tpm, kind);
    await flushContext(tpm, ek.handle);
    if (!publicKeyOf(parsePublic(ek.public)).equals(certifiedKey(certificate))) {
      throw new KallioError<IdentityCode>(
        'IDENTITY_EK_MISMATCH',
        `The ${kind} EK certificate in this TPM is not for the key that its template makes.`,
        {
          hint: 'The endorsement seed was changed, or the certificate is of another TPM. The maker must issue a new one.',
        },
      );
    }
    return { kind, certificate, intermediates: await readChain(tpm), public: ek.public };
  }
  throw new KallioError<IdentityCode>('IDENTITY_NO_EK_CERTIFICATE', 'This TPM holds no EK certificate.', {
    hint: 'Without one nobody can tell it from a TPM of an attacker’s own making.',
  });
}

/** Makes the EK again: the same template and seed give the same key. */
export function loadEk(tpm: Tpm, kind: EkKind): Promise<Loaded> {
  return createPrimary(tpm, HANDLE.endorsement, ekTemplate(kind));
}

/** Intermediate certificates in NV (EK Credential Profile 2.5 section 2.2.1.5.2): concatenated DER over indices. */
async function readChain(tpm: Tpm): Promise<Uint8Array[]> {
  const certificates: Uint8Array[] = [];
  for (let index: number = EK_NV.chain; index <= EK_NV.chainEnd && certificates.length < 8; index++) {
    const nv = await nvReadPublic(tpm, index);
    if (nv === undefined) break;
    certificates.push(...splitDer(await nvRead(tpm, nv)));
  }
  return certificates.slice(0, 8);
}

/** Makers pad the NV index: what counts is the first DER value. */
function trimDer(bytes: Uint8Array): Uint8Array {
  return splitDer(bytes)[0] ?? bytes;
}

/** DER SEQUENCEs with a two-byte length, one after another; what doesn't begin so ends the list. */
function splitDer(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at = 0;
  while (bytes[at] === 0x30 && bytes[at + 1] === 0x82) {
    const length = 4 + ((bytes[at + 2] ?? 0) << 8) + (bytes[at + 3] ?? 0);
    if (at + length > bytes.length) break;
    found.push(bytes.slice(at, at + length));
    at += length;
  }
  return found;
}
