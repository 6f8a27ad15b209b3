import { generateKeyPairSync } from 'node:crypto';
import { canonicalDigest, concat, type Digest, digestOf, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import {
  type Binding,
  type EvidenceMessage,
  IMA_PCR,
  INSTANCE_PCR,
  type InstanceEntry,
  type InstanceEvent,
  type Inventory,
  instanceCommitment,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
  signingKeyQualifyingData,
  writeImaLog,
} from '@kallio/evidence';
import { type Client, certificateCreate, nonceCreate, sessionCreate, sessionOpen } from '@kallio/protocol';
import { enrolled, joinToken, requestOf } from './fixture-enrol.ts';
import type { TestServer } from './fixture-server.ts';
import type { TestTpm } from './fixture-tpm.ts';

/** What evidence is asked for, beside attester and nonce. */
export type Question = Omit<Binding, 'attester' | 'nonce' | 'parts'> & { readonly nonce: string };

/** An attester as small as can be, on a real swtpm: it quotes, keeps an instance log, and runs nothing else. */
export class TestAttester {
  readonly tpm: TestTpm;
  readonly id: string;
  /** The challenge by which it was admitted. */
  readonly enrolment: string;
  readonly log: InstanceEntry[] = [];
  inventory: Inventory = { scope: 'machine', containers: [], changed: [] };
  /** Names the inventory by its digest, as an agent does that has shown it before. */
  unchanged = false;
  /** The last client certificate. */
  identity: { certificate: string; key: string } | undefined;
  /** From where on the server wants the instance log. */
  from = 0;
  /** The kernel's measurement list, an entry each, where this machine measures; and from where on the server wants it. */
  readonly measured: Uint8Array[] = [];
  imaFrom = 0;
  #shownInThisBoot = true;

  constructor(tpm: TestTpm, id: string, enrolment: string) {
    this.tpm = tpm;
    this.id = id;
    this.enrolment = enrolment;
  }

  /** Appends to the instance log, in the TPM first. */
  async happen(event: InstanceEvent): Promise<void> {
    const entry = { seq: this.log.length, salt: toHex(sha256(utf8(`salt ${this.log.length}`))), event };
    await this.tpm.extend(INSTANCE_PCR, instanceCommitment(entry));
    this.log.push(entry);
  }

  /** Measures a file, in the TPM first (template ima-ng). */
  async measure(name: string, digest: Uint8Array): Promise<void> {
    const field = (bytes: Uint8Array) => concat(u32le(bytes.length), bytes);
    const data = concat(field(concat(utf8('sha256:\0'), digest)), field(utf8(`${name}\0`)));
    await this.tpm.extend(IMA_PCR, sha256(data));
    const place = this.measured.length;
    this.measured.push(
      writeImaLog([{ index: place, pcr: IMA_PCR, template: 'ima-ng', violation: false, data }]),
    );
  }

  /** A violation: the kernel extends by ones, and lists a digest of zeros. */
  async violate(name: string): Promise<void> {
    const field = (bytes: Uint8Array) => concat(u32le(bytes.length), bytes);
    const data = concat(field(concat(utf8('sha256:\0'), new Uint8Array(32))), field(utf8(`${name}\0`)));
    await this.tpm.extend(IMA_PCR, new Uint8Array(32).fill(0xff));
    const place = this.measured.length;
    this.measured.push(
      writeImaLog([{ index: place, pcr: IMA_PCR, template: 'ima-ng', violation: true, data }]),
    );
  }

  /** Another boot: an empty log. */
  async reboot(): Promise<void> {
    await this.tpm.reboot();
    this.log.length = 0;
    this.from = 0;
    this.measured.length = 0;
    this.imaFrom = 0;
    this.#shownInThisBoot = false;
  }

  /** From where on the IMA log is shown: what the server has is of the boot in which it was shown. */
  #goOnFrom(held: number): void {
    this.imaFrom = this.#shownInThisBoot ? held : 0;
  }

  /** Evidence that answers a question. */
  async evidence(question: Question): Promise<EvidenceMessage> {
    const ima = { from: this.imaFrom, entries: toBase64(concat(...this.measured.slice(this.imaFrom))) };
    const parts = {
      ...(this.measured.length === 0 ? {} : { ima }),
      instanceLog: { from: this.from, entries: this.log.slice(this.from) },
      inventory: this.unchanged ? { unchanged: canonicalDigest(this.inventory) } : this.inventory,
    };
    this.#shownInThisBoot = true;
    const data = qualifyingData({ ...question, attester: this.id, parts: partsOf(parts) });
    const { attest, signature, values } = await this.tpm.quote(QUOTED_PCRS, data);
    return {
      version: 'kallio-evidence-v1',
      purpose: question.purpose,
      attester: this.id,
      nonce: question.nonce,
      quote: { attest: toBase64(attest), signature: toBase64(signature) },
      pcrs: [
        {
          bank: 'sha256',
          values: Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), toHex(value)])),
        },
      ],
      ...parts,
    };
  }

  /** A nonce for a purpose; takes note of where the log is to go on from. */
  async nonce(client: Client, purpose: Question['purpose'], session?: string): Promise<string> {
    const body = {
      attester: this.id,
      purpose,
      ...(session === undefined ? {} : { session }),
      ...(purpose === 'transport-key' ? { enrolment: this.enrolment } : {}),
    };
    const reply = await client.call(nonceCreate, { body });
    this.from = reply.from.instanceLog;
    this.#goOnFrom(reply.from.ima);
    return reply.nonce;
  }

  /** Fresh evidence for purpose `attest`. */
  async attest(client: Client): Promise<EvidenceMessage> {
    return this.evidence({ purpose: 'attest', nonce: await this.nonce(client, 'attest') });
  }

  /** Shows evidence for a new TLS key and comes back with a client that holds the certificate. */
  async connect(server: TestServer): Promise<Client> {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = new Uint8Array(keys.publicKey.export({ format: 'der', type: 'spki' }));
    const client = server.client();
    const nonce = await this.nonce(client, 'transport-key');
    const evidence = await this.evidence({ purpose: 'transport-key', nonce, tlsKey: digestOf(spki) });
    const body = { evidence, tlsKey: toBase64(spki) };
    const { certificate } = await client.call(certificateCreate, { body });
    const key = keys.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    this.identity = { certificate, key };
    return server.client({ identity: this.identity });
  }

  /** An open session; answers with its id. */
  async openSession(client: Client): Promise<string> {
    const created = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    this.from = created.from.instanceLog;
    this.#goOnFrom(created.from.ima);
    const { session, nonce } = created;
    const evidence = await this.evidence({ purpose: 'session-open', nonce, session });
    await client.call(sessionOpen, { params: { session }, body: { evidence } });
    return session;
  }

  /** Evidence for a session whose build goes on. */
  async during(client: Client, session: string): Promise<EvidenceMessage> {
    const purpose = 'session-attest' as const;
    return this.evidence({ purpose, nonce: await this.nonce(client, purpose, session), session });
  }

  /** The body of a closing request. */
  async closing(client: Client, session: string, subject: Digest, statement: Digest) {
    const nonce = await this.nonce(client, 'session-close', session);
    const certified = await this.tpm.certifySigningKey(signingKeyQualifyingData({ session, nonce }));
    const evidence = await this.evidence({
      purpose: 'session-close',
      nonce,
      session,
      subject,
      statement,
      signingKey: digestOf(this.tpm.signingPublic),
    });
    return {
      subject,
      statement,
      signingKey: {
        public: toBase64(this.tpm.signingPublic),
        certification: { attest: toBase64(certified.attest), signature: toBase64(certified.signature) },
      },
      evidence,
    };
  }
}

function u32le(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

/** Enrols this TPM by a join token. */
export async function admitted(
  server: TestServer,
  tpm: TestTpm,
  id: string,
  kind: 'builder' | 'device' = 'builder',
): Promise<TestAttester> {
  const request = { ...requestOf(tpm, id, await joinToken(server)), kind };
  const { challenge } = await enrolled(server.client(), tpm, request);
  return new TestAttester(tpm, id, challenge);
}
