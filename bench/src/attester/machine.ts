import type { AppraisalPolicy, ImageReference } from '@kallio/appraisal';
import { canonicalDigest, type Digest, digestOf, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import {
  type EvidenceMessage,
  type EvidenceParts,
  IMA_PCR,
  INSTANCE_PCR,
  type InstanceEntry,
  type Inventory,
  instanceCommitment,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
} from '@kallio/evidence';
import { firmwareLog, type ImaList, imaList } from './measured.ts';
import { SoftwareTpm } from './software-tpm.ts';

export const IMAGE: Digest = digestOf(utf8('the image of the benchmark’s instances'));
const SHELL = toHex(sha256(utf8('a shell')));
const SERVER = toHex(sha256(utf8('a server')));
const CONTAINERS = ['first', 'second'].map((name) => toHex(sha256(utf8(name))));

/** The image that every machine here runs, and its reference values. */
export const IMAGE_REFERENCE: ImageReference = {
  files: new Map([
    ['/bin/sh', SHELL],
    ['/bin/server', SERVER],
    ...Array.from({ length: 400 }, (_, i) => [`/lib/${i}.so`, toHex(sha256(utf8(`lib ${i}`)))] as const),
  ]),
};

export function imageReference(image: Digest): ImageReference | undefined {
  return image === IMAGE ? IMAGE_REFERENCE : undefined;
}

/** What every machine of a benchmark measured: the same firmware, and the same programs. */
export interface Model {
  readonly firmware: ReturnType<typeof firmwareLog>;
  readonly ima: ImaList;
}

export function machineModel(imaEntries: number): Model {
  const firmware = firmwareLog();
  const tpm = new SoftwareTpm();
  for (const { pcr, digest } of firmware.events) tpm.extend(pcr, digest);
  const aggregate = sha256(...Array.from({ length: 10 }, (_, pcr) => tpm.pcr(pcr)));
  return { firmware, ima: imaList(imaEntries, aggregate) };
}

/** A policy that has reference values for all of it. `more` further files are known, as on a real system. */
export function policyFor({ firmware, ima }: Model, more: number): AppraisalPolicy {
  const zero = '00'.repeat(32);
  const other = Array.from({ length: more }, (_, i) => toHex(sha256(utf8(`another file ${i}`))));
  return {
    policy: 'kallio-policy-v1',
    id: 'bench-1',
    kind: 'device',
    bank: 'sha256',
    pcrs: [...QUOTED_PCRS],
    reference: {
      pcrs: { 11: [zero], 12: [zero], 13: [zero], 15: [zero] },
      boot: firmware.events.map(({ pcr, digest }, index) => ({
        pcr,
        class: 'firmware',
        values: [{ name: `event ${index}`, digest: toHex(digest) }],
      })),
      ima: { classes: [{ name: 'everything', digests: [...ima.files, ...other] }] },
    },
    tiers: ['A', 'B', 'C'],
  };
}

/** Beside attester and nonce, what evidence answers. */
type Question = Parameters<typeof qualifyingData>[0];

/** A machine that measured its boot, runs IMA and two instances, and shows evidence like an honest agent. */
export class Machine {
  readonly tpm = new SoftwareTpm();
  readonly id: string;
  readonly #model: Model;
  readonly #log: InstanceEntry[] = [];
  readonly #inventory: Inventory;
  readonly #pcrs: EvidenceMessage['pcrs'];
  /** Parts of steady-state evidence, which don't change: their digests are computed once, as an agent would. */
  readonly #steady: Pick<EvidenceMessage, 'instanceLog' | 'inventory'>;
  readonly #steadyDigests: EvidenceParts;
  /** Its text before, between and after what differs from one message to the next. */
  readonly #steadyText: readonly string[];

  constructor(id: string, model: Model) {
    this.id = id;
    this.#model = model;
    for (const { pcr, digest } of model.firmware.events) this.tpm.extend(pcr, digest);
    for (const digest of model.ima.extended) this.tpm.extend(IMA_PCR, digest);
    for (const container of CONTAINERS) {
      this.#record('create', container);
      this.#record('start', container);
    }
    this.#inventory = {
      scope: 'machine',
      containers: CONTAINERS.map((container, at) => ({
        container,
        processes: [
          { pid: 1000 + at * 10, executable: '/bin/sh', sha256: SHELL },
          { pid: 1001 + at * 10, executable: '/bin/server', sha256: SERVER },
        ],
      })),
      changed: [],
    };
    this.#pcrs = [
      {
        bank: 'sha256',
        values: Object.fromEntries(QUOTED_PCRS.map((pcr) => [String(pcr), toHex(this.tpm.pcr(pcr))])),
      },
    ];
    this.#steady = {
      instanceLog: { from: this.#log.length, entries: [] },
      inventory: { unchanged: canonicalDigest(this.#inventory) },
    };
    this.#steadyDigests = partsOf(this.#steady);
    const quote = { attest: '(attest)', signature: '(signature)' };
    const question = { purpose: 'attest', nonce: '(nonce)' } as const;
    this.#steadyText = JSON.stringify(this.#message(question, quote, this.#steady)).split(
      /\((?:nonce|attest|signature)\)/,
    );
  }

  /** The first evidence of a boot: all logs, whole. */
  first(question: Omit<Question, 'parts' | 'attester'>): EvidenceMessage {
    const parts = {
      eventLog: toBase64(this.#model.firmware.bytes),
      ima: { from: 0, entries: toBase64(this.#model.ima.bytes) },
      instanceLog: { from: 0, entries: this.#log },
      inventory: this.#inventory,
    };
    return this.#message(question, this.#quote(question, partsOf(parts)), parts);
  }

  /** Evidence of a machine on which nothing has happened since. */
  steady(question: Omit<Question, 'parts' | 'attester'>): EvidenceMessage {
    return this.#message(question, this.#quote(question, this.#steadyDigests), this.#steady);
  }

  /** The same for purpose `attest`, as JSON: a thousand machines in one process leave to the server what time they can. */
  steadyText(nonce: string): string {
    const { attest, signature } = this.#quote({ purpose: 'attest', nonce }, this.#steadyDigests);
    const [head, second, third, tail] = this.#steadyText;
    return head + nonce + second + attest + third + signature + tail;
  }

  #quote(question: Omit<Question, 'parts' | 'attester'>, parts: EvidenceParts): EvidenceMessage['quote'] {
    return this.tpm.quote(qualifyingData({ ...question, attester: this.id, parts }));
  }

  #message(
    { purpose, nonce }: Omit<Question, 'parts' | 'attester'>,
    quote: EvidenceMessage['quote'],
    shown: Pick<EvidenceMessage, 'eventLog' | 'ima' | 'instanceLog' | 'inventory'>,
  ): EvidenceMessage {
    return {
      version: 'kallio-evidence-v1',
      purpose,
      attester: this.id,
      nonce,
      quote,
      pcrs: this.#pcrs,
      ...shown,
    };
  }

  #record(verb: InstanceEntry['event']['verb'], container: string): void {
    const seq = this.#log.length;
    const event = { verb, instance: `instance-${container.slice(0, 8)}`, container, image: IMAGE };
    const entry = { seq, salt: toHex(sha256(utf8(`${this.id} ${seq}`))), event };
    this.#log.push(entry);
    this.tpm.extend(INSTANCE_PCR, instanceCommitment(entry));
  }
}
