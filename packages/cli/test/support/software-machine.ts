import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { concat, fromBase64Url, sha256, toBase64, toHex, utf8, Writer } from '@kallio/codec';
import {
  type EvidenceMessage,
  extend,
  IMA_PCR,
  INSTANCE_PCR,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
  writeImaLog,
} from '@kallio/evidence';
import type { AttesterMeasurements } from '@kallio/protocol';
import { marshalPublic, writePcrSelections } from '@kallio/tpm/structures';

/** A machine whose TPM is a key and some numbers: it measures what a test says, and shows it as the server hands it on. */
export class SoftwareMachine {
  readonly #key: KeyObject;
  readonly akPublic: Uint8Array;
  readonly pcrs = new Map<number, Uint8Array>();
  readonly #events: Uint8Array[] = [header()];
  readonly #ima: Uint8Array[] = [];

  constructor() {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey;
    const { x = '', y = '' } = privateKey.export({ format: 'jwk' });
    this.akPublic = marshalPublic({
      type: 'ecc',
      nameAlg: 'sha256',
      attributes: {
        ...{ fixedTPM: true, fixedParent: true, sensitiveDataOrigin: true, restricted: true, sign: true },
        ...{ stClear: false, userWithAuth: true, adminWithPolicy: false, noDA: false },
        ...{ encryptedDuplication: false, decrypt: false },
      },
      authPolicy: new Uint8Array(),
      symmetric: 'null',
      scheme: { scheme: 'ecdsa', hash: 'sha256' },
      curve: 'P-256',
      x: fromBase64Url(x),
      y: fromBase64Url(y),
    });
  }

  #extend(pcr: number, digest: Uint8Array): void {
    this.pcrs.set(pcr, extend('sha256', this.pcrs.get(pcr) ?? new Uint8Array(32), digest));
  }

  /** The firmware, or what it starts, measures. */
  boot(pcr: number, type: number, data: Uint8Array, digest = sha256(data)): void {
    this.#extend(pcr, digest);
    this.#events.push(
      concat(le(pcr), le(type), le(1), Uint8Array.of(0x0b, 0), digest, le(data.length), data),
    );
  }

  /** A boot as OVMF and Linux measure it, with this command line. */
  bootLinux(commandLine: string): void {
    this.boot(0, 8, new Uint8Array(Buffer.from('1.0\0', 'utf16le')));
    for (let pcr = 0; pcr < 8; pcr++) this.boot(pcr, 4, new Uint8Array(4));
    // EV_EVENT_TAG, LOAD_OPTIONS_EVENT_TAG_ID (drivers/firmware/efi/libstub): the text is not in the log.
    const label = utf8('LOADED_IMAGE::LoadOptions\0');
    const text = new Uint8Array(Buffer.from(`${commandLine}\0`, 'utf16le'));
    this.boot(9, 6, concat(le(0x8f3b22ed), le(label.length), label), sha256(text));
    // boot_aggregate, in the first entry of the kernel's list.
    const pcrs = Array.from({ length: 10 }, (_, pcr) => this.pcrs.get(pcr) ?? new Uint8Array(32));
    this.#ima.length = 0;
    this.measure('boot_aggregate', sha256(...pcrs));
  }

  /** The kernel measures a file (template ima-ng). */
  measure(name: string, digest: Uint8Array): void {
    const field = (bytes: Uint8Array) => concat(le(bytes.length), bytes);
    const data = concat(field(concat(utf8('sha256:\0'), digest)), field(utf8(`${name}\0`)));
    this.#extend(IMA_PCR, sha256(data));
    const index = this.#ima.length;
    this.#ima.push(writeImaLog([{ index, pcr: IMA_PCR, template: 'ima-ng', violation: false, data }]));
  }

  /** The evidence and logs, as the server hands them on. */
  measurements(change: Partial<EvidenceMessage> = {}): AttesterMeasurements {
    const values = QUOTED_PCRS.map((pcr) => [pcr, this.pcrs.get(pcr) ?? new Uint8Array(32)] as const);
    const eventLog = toBase64(concat(...this.#events));
    const ima = toBase64(concat(...this.#ima));
    const parts = {
      ima: { from: 0, entries: ima },
      eventLog,
      instanceLog: { from: 0, entries: [] },
      inventory: { scope: 'machine', containers: [], changed: [] },
    };
    const nonce = toHex(randomBytes(32));
    const binding = { purpose: 'attest' as const, attester: 'cabinet-7', nonce, parts: partsOf(parts) };
    const evidence: EvidenceMessage = {
      version: 'kallio-evidence-v1',
      purpose: 'attest',
      attester: 'cabinet-7',
      nonce,
      quote: this.#quote(
        qualifyingData(binding),
        values.map(([, value]) => value),
      ),
      pcrs: [
        {
          bank: 'sha256',
          values: Object.fromEntries(values.map(([pcr, value]) => [String(pcr), toHex(value)])),
        },
      ],
      ...parts,
      ...change,
    };
    return {
      attester: 'cabinet-7',
      result: `sha256:${'ab'.repeat(32)}`,
      state: 'VERIFIED',
      at: '2026-11-25T12:00:00.000Z',
      akPublic: toBase64(this.akPublic),
      evidence,
      eventLog,
      ima,
      instanceLog: parts.instanceLog,
      imageFiles: [],
    };
  }

  #quote(extraData: Uint8Array, values: readonly Uint8Array[]): EvidenceMessage['quote'] {
    const writer = new Writer().u32(0xff54_4347).u16(0x8018).u16(34).bytes(randomBytes(34));
    writer.u16(extraData.length).bytes(extraData).u64(1000n).u32(1).u32(0).u8(1).u64(1n);
    writePcrSelections(writer, [{ bank: 'sha256', pcrs: QUOTED_PCRS }]);
    const attest = writer
      .u16(32)
      .bytes(sha256(...values))
      .finish();
    const raw = sign('sha256', attest, { key: this.#key, dsaEncoding: 'ieee-p1363' });
    const signature = new Writer().u16(0x0018).u16(0x000b);
    signature.u16(32).bytes(raw.subarray(0, 32)).u16(32).bytes(raw.subarray(32));
    return { attest: toBase64(attest), signature: toBase64(signature.finish()) };
  }

  /** Extends the PCR of the instance log behind its back. */
  disturb(): void {
    this.#extend(INSTANCE_PCR, new Uint8Array(32).fill(1));
  }
}

/** The first event of a crypto-agile log with SHA-256 alone. */
function header(): Uint8Array {
  const data = concat(
    utf8('Spec ID Event03\0'),
    le(0),
    Uint8Array.of(0, 2, 0, 2),
    le(1),
    Uint8Array.of(0x0b, 0, 32, 0, 0),
  );
  return concat(le(0), le(3), new Uint8Array(20), le(data.length), data);
}

function le(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}
