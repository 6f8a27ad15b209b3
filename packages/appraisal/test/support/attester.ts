import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { type Digest, digestOf, fromBase64Url, sha256, toBase64, toHex, utf8, Writer } from '@kallio/codec';
import {
  type Binding,
  type EvidenceMessage,
  extend,
  type InstanceEntry,
  type InstanceEvent,
  instanceCommitment,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
} from '@kallio/evidence';
import { type HashName, marshalPublic, writePcrSelections } from '@kallio/tpm/structures';

/**
 * An attester made of software: a P-256 key that signs TPMS_ATTEST structures as a TPM marshals them. It lets a test
 * make evidence that no honest TPM makes, beside the same evidence without the flaw.
 */
export class SoftwareAttester {
  readonly key: KeyObject;
  /** TPMT_PUBLIC. */
  readonly akPublic: Uint8Array;
  readonly pcrs = new Map<number, Uint8Array>(
    Array.from({ length: 24 }, (_, pcr) => [pcr, new Uint8Array(32)]),
  );
  readonly log: InstanceEntry[] = [];
  resetCount = 7;
  restartCount = 0;
  clock = 100_000n;
  safe = true;
  firmwareVersion = 0x2024_0125_0012_0000n;

  constructor() {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { x = '', y = '' } = privateKey.export({ format: 'jwk' });
    this.key = privateKey;
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
    this.pcrs.set(pcr, extend('sha256', this.value(pcr), digest));
  }

  value(pcr: number): Uint8Array {
    return this.pcrs.get(pcr) ?? new Uint8Array(32);
  }

  /** TPM Reset: PCRs are zero, logs begin anew. */
  reboot(): void {
    for (const pcr of this.pcrs.keys()) this.pcrs.set(pcr, new Uint8Array(32));
    this.log.length = 0;
    this.resetCount++;
    this.restartCount = 0;
    this.clock += 5000n;
  }

  /** Writes an event to the instance log and extends PCR 14. */
  record(event: Pick<InstanceEvent, 'verb' | 'container'> & Partial<InstanceEvent>): InstanceEntry {
    const entry: InstanceEntry = {
      seq: this.log.length,
      salt: toHex(randomBytes(32)),
      event: { instance: event.container, image: IMAGE, ...event },
    };
    this.log.push(entry);
    this.extend(14, instanceCommitment(entry));
    return entry;
  }

  /** Evidence, as an honest agent makes it, of what this attester is now. */
  show(question: Question, change: Changes = {}): EvidenceMessage {
    this.clock += 10n;
    const from = change.from ?? 0;
    const message: EvidenceMessage = {
      version: 'kallio-evidence-v1',
      purpose: question.purpose,
      attester: question.attester,
      nonce: question.nonce,
      quote: { attest: '', signature: '' },
      pcrs: [
        {
          bank: 'sha256',
          values: Object.fromEntries(QUOTED_PCRS.map((pcr) => [String(pcr), toHex(this.value(pcr))])),
        },
      ],
      instanceLog: { from, entries: this.log.slice(from) },
      inventory: { scope: 'machine', containers: [], changed: [] },
      ...change.parts,
    };
    const binding = { ...question, parts: partsOf(message) };
    return { ...message, quote: this.quote({ extraData: qualifyingData(binding), ...change.attest }) };
  }

  /** A signed TPMS_ATTEST; every field can be given another value. */
  quote(fields: AttestFields): EvidenceMessage['quote'] {
    const attest = this.#attest(fields);
    return { attest: toBase64(attest), signature: toBase64(this.#sign(attest)) };
  }

  #attest(fields: AttestFields): Uint8Array {
    const select = fields.select ?? [{ bank: 'sha256', pcrs: QUOTED_PCRS }];
    const values = select.flatMap(({ pcrs }) => pcrs.map((pcr) => this.value(pcr)));
    const type = fields.type ?? 0x8018;
    const writer = new Writer()
      .u32(fields.magic ?? 0xff54_4347)
      .u16(type)
      .u16(34)
      .bytes(randomBytes(34))
      .u16(fields.extraData.length)
      .bytes(fields.extraData)
      .u64(this.clock)
      .u32(this.resetCount)
      .u32(this.restartCount)
      .u8(this.safe ? 1 : 0)
      .u64(this.firmwareVersion);
    // A certification has two names where a quote has selection and digest.
    if (type === 0x8017) return writer.u16(34).bytes(randomBytes(34)).u16(34).bytes(randomBytes(34)).finish();
    writePcrSelections(writer, select);
    return writer
      .u16(32)
      .bytes(sha256(...values))
      .finish();
  }

  #sign(bytes: Uint8Array): Uint8Array {
    const raw = sign('sha256', bytes, { key: this.key, dsaEncoding: 'ieee-p1363' });
    return new Writer()
      .u16(0x0018)
      .u16(0x000b)
      .u16(32)
      .bytes(raw.subarray(0, 32))
      .u16(32)
      .bytes(raw.subarray(32))
      .finish();
  }
}

/** What the verifier asked. */
export type Question = Omit<Binding, 'parts'>;

/** What evidence has otherwise than an honest agent makes it. */
export interface Changes {
  /** First entry of the instance log that is shown. */
  readonly from?: number;
  /** Parts of the message, before the quote is bound to them. */
  readonly parts?: Partial<EvidenceMessage>;
  /** Fields of the TPMS_ATTEST. */
  readonly attest?: Partial<AttestFields>;
}

export interface AttestFields {
  readonly extraData: Uint8Array;
  readonly magic?: number;
  readonly type?: number;
  readonly select?: readonly { readonly bank: HashName; readonly pcrs: readonly number[] }[];
}

export const IMAGE: Digest = digestOf(utf8('an image manifest'));
export const SHELL = createHash('sha256').update('a shell').digest('hex');
export const SERVER = createHash('sha256').update('a server').digest('hex');

/** A question of purpose `attest`. */
export function question(change: Partial<Question> = {}): Question {
  return { purpose: 'attest', attester: 'device-1', nonce: toHex(randomBytes(32)), ...change };
}
