import type { KeyObject } from 'node:crypto';
import { KallioError } from '@kallio/codec';
import { certifiedKey } from '@kallio/pki';
import {
  createPrimary,
  EK_CHAIN,
  EK_PROFILES,
  type EkProfile,
  ekTemplate,
  flushContext,
  HANDLE,
  type Loaded,
  type NvPublic,
  nvRead,
  nvReadPublic,
  type Tpm,
} from '@kallio/tpm';
import { NV_ATTRIBUTE, parsePublic, publicKeyOf } from '@kallio/tpm/structures';
import type { IdentityCode } from './error.ts';

/** An EK certificate and how to make its key again. */
export interface Endorsement {
  readonly profile: EkProfile;
  /** DER. */
  readonly certificate: Uint8Array;
  /** DER, as given or as the TPM holds them. */
  readonly intermediates: readonly Uint8Array[];
  /** TPMT_PUBLIC. */
  readonly public: Uint8Array;
}

/** Certificates that the operator gives, where the TPM holds none: DER. */
export interface GivenEndorsement {
  readonly certificate?: Uint8Array;
  readonly intermediates: readonly Uint8Array[];
}

/** Most intermediates that are shown to the server. */
const MAX_INTERMEDIATES = 8;

/**
 * The EK certificate, as given or from the TPM, and the public area of the key that it certifies. Everything that is
 * believed of it is for the server to say; here it is only held against the TPM, so that a mistake shows at once.
 */
export async function readEndorsement(
  tpm: Tpm,
  given: GivenEndorsement = { intermediates: [] },
): Promise<Endorsement> {
  const intermediates = given.intermediates.length > 0 ? given.intermediates : await readChain(tpm);
  if (given.certificate !== undefined) {
    return { ...(await matching(tpm, given.certificate, EK_PROFILES)), intermediates };
  }
  for (const profile of EK_PROFILES) {
    const nv = await nvReadPublic(tpm, profile.certificate);
    if (nv === undefined) continue;
    return { ...(await matching(tpm, trimDer(await readIndex(tpm, nv)), [profile])), intermediates };
  }
  throw new KallioError<IdentityCode>('IDENTITY_NO_EK_CERTIFICATE', 'This TPM holds no EK certificate.', {
    hint: 'Without one nobody can tell it from a TPM of an attacker’s own making. Where the maker publishes it, give it as endorsement.certificate.',
  });
}

/** The kind of EK, among these, whose template makes the key that the certificate is for. */
async function matching(
  tpm: Tpm,
  certificate: Uint8Array,
  profiles: readonly EkProfile[],
): Promise<Omit<Endorsement, 'intermediates'>> {
  const certified = certifiedKey(certificate);
  for (const profile of profiles) {
    // Making an RSA key of the wrong size for nothing would cost seconds.
    if (!sameAlgorithm(profile, certified)) continue;
    const ek = await loadEk(tpm, profile);
    await flushContext(tpm, ek.handle);
    if (publicKeyOf(parsePublic(ek.public)).equals(certified))
      return { profile, certificate, public: ek.public };
  }
  throw new KallioError<IdentityCode>(
    'IDENTITY_EK_MISMATCH',
    'The EK certificate is not for a key that this TPM makes.',
    {
      hint: 'The endorsement seed was changed, or the certificate is of another TPM. The maker must issue a new one.',
    },
  );
}

function sameAlgorithm({ kind }: EkProfile, key: KeyObject): boolean {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  const template = ekTemplate(kind);
  if (template.type === 'rsa') return modulusLength === template.keyBits;
  return namedCurve === (template.curve === 'P-256' ? 'prime256v1' : 'secp384r1');
}

/** Makes the EK again: the same template and seed give the same key. */
export function loadEk(tpm: Tpm, { kind }: EkProfile): Promise<Loaded> {
  return createPrimary(tpm, HANDLE.endorsement, ekTemplate(kind));
}

/** Intermediate certificates in NV (EK Credential Profile 2.5 section 2.2.1.5.2): concatenated DER over indices. */
async function readChain(tpm: Tpm): Promise<Uint8Array[]> {
  const certificates: Uint8Array[] = [];
  for (
    let index: number = EK_CHAIN.first;
    index <= EK_CHAIN.last && certificates.length < MAX_INTERMEDIATES;
    index++
  ) {
    const nv = await nvReadPublic(tpm, index);
    if (nv === undefined) break;
    certificates.push(...splitDer(await readIndex(tpm, nv)));
  }
  return certificates.slice(0, MAX_INTERMEDIATES);
}

/** By the index's own authorization, which is empty, where it may: the owner's may be set to what an agent does not know. */
function readIndex(tpm: Tpm, nv: NvPublic): Promise<Uint8Array> {
  return nvRead(tpm, nv, { by: (nv.attributes & NV_ATTRIBUTE.authRead) === 0 ? 'owner' : 'index' });
}

/** Makers pad the NV index: what counts is the first DER value. */
function trimDer(bytes: Uint8Array): Uint8Array {
  return splitDer(bytes)[0] ?? bytes;
}

/** DER SEQUENCEs, one after another; what doesn't begin as one of a certificate's length ends the list. */
function splitDer(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at = 0;
  while (bytes[at] === 0x30) {
    const [form = 0, first = 0, second = 0] = bytes.subarray(at + 1, at + 4);
    // No certificate is shorter than 128 bytes or longer than 64 KiB.
    if (form !== 0x81 && form !== 0x82) break;
    const length = form === 0x81 ? 3 + first : 4 + (first << 8) + second;
    if (at + length > bytes.length) break;
    found.push(bytes.slice(at, at + length));
    at += length;
  }
  return found;
}
