import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { concat, fromBase64Url, sha256, toBase64, Writer } from '@kallio/codec';
import { type Attestation, extend, QUOTED_PCRS } from '@kallio/evidence';
import { marshalPublic, marshalSignature, writePcrSelections } from '@kallio/tpm/structures';

const FIRMWARE_VERSION = 0x2024_0125_0012_0000n;

/**
 * As much of a TPM as a load generator needs: PCRs, and an AK of software that signs quotes as a TPM marshals them. Ten
 * thousand real ones don't fit a machine; what a verifier does with their quotes is the same.
 */
export class SoftwareTpm {
  /** TPMT_PUBLIC of the AK. */
  readonly akPublic: Uint8Array;
  readonly #key: KeyObject;
  readonly #pcrs = new Map(QUOTED_PCRS.map((pcr) => [pcr, new Uint8Array(32)]));

  constructor() {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { x = '', y = '' } = privateKey.export({ format: 'jwk' });
    this.#key = privateKey;
    this.akPublic = marshalPublic({
      type: 'ecc',
      nameAlg: 'sha256',
      attributes: {
        fixedTPM: true,
        stClear: false,
        fixedParent: true,
        sensitiveDataOrigin: true,
        userWithAuth: true,
        adminWithPolicy: false,
        noDA: true,
        encryptedDuplication: false,
        restricted: true,
        decrypt: false,
        sign: true,
      },
      authPolicy: new Uint8Array(),
      symmetric: 'null',
      scheme: { scheme: 'ecdsa', hash: 'sha256' },
      curve: 'P-256',
      x: fromBase64Url(x),
      y: fromBase64Url(y),
    });
  }

  /** TPM2_PCR_Extend of the SHA-256 bank. */
  extend(pcr: number, digest: Uint8Array): void {
    this.#pcrs.set(pcr, new Uint8Array(extend('sha256', this.pcr(pcr), digest)));
  }

  pcr(pcr: number): Uint8Array {
    return this.#pcrs.get(pcr) ?? new Uint8Array(32);
  }

  /** TPM2_Quote of PCRs 0-15 by the AK. */
  quote(qualifyingData: Uint8Array): Attestation {
    const writer = new Writer()
      .u32(0xff54_4347)
      .u16(0x8018)
      .u16(34)
      .bytes(new Uint8Array(34))
      .u16(qualifyingData.length)
      .bytes(qualifyingData)
      .u64(100_000n + BigInt(Math.floor(performance.now())))
      .u32(7)
      .u32(0)
      .u8(1)
      .u64(FIRMWARE_VERSION);
    writePcrSelections(writer, [{ bank: 'sha256', pcrs: QUOTED_PCRS }]);
    const attest = writer
      .u16(32)
      .bytes(sha256(concat(...this.#pcrs.values())))
      .finish();
    return { attest: toBase64(attest), signature: toBase64(this.#sign(attest)) };
  }

  /** TPMT_SIGNATURE. Node's DER is taken apart: asking it for two plain numbers would cost twice the signature. */
  #sign(bytes: Uint8Array): Uint8Array {
    const der = sign('sha256', bytes, this.#key);
    const r = der.subarray(4, 4 + der.readUInt8(3));
    const s = der.subarray(4 + r.length + 2);
    return marshalSignature({ scheme: 'ecdsa', hash: 'sha256', r: number(r), s: number(s) });
  }
}

/** Without the zero that keeps a DER integer positive. */
function number(integer: Uint8Array): Uint8Array {
  return integer.length > 32 ? integer.subarray(integer.length - 32) : integer;
}
