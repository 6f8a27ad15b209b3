import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, digestOf, KallioError, toBase64 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import {
  attesterActivity,
  Client,
  certificateCreate,
  type EvidenceReply,
  evidenceSubmit,
  type Held,
  nonceCreate,
} from '@kallio/protocol';
import type { AgentConfig } from './config.ts';
import { gatherEvidence, type Question, type Sources } from './evidence.ts';
import { Turns } from './turns.ts';

/** A client certificate is renewed when this much of its life is over. */
const RENEW_AT = 0.6;
/** A nonce that ends in less than this is not begun with: a TPM may take its time. */
const NONCE_RESERVE_MS = 15_000;
/** A quote that takes longer is announced. */
const SLOW_MS = 1_500;
/** The way out does not wait longer for a server. */
const GOODBYE_MS = 1_000;
/** Messages in a row that show a log from its beginning: more than the longest list takes. */
const MAX_IN_A_ROW = 4096;

/** What the answer to the last evidence gave for the next. */
interface Standing {
  readonly nonce: string;
  readonly from: Held;
  /** By this process's own clock, milliseconds: a device's wall clock may be set. */
  readonly until: number;
}

/** Where the challenge is by which this attester was admitted, if it was. */
interface Enrolled {
  readonly enrolment: () => Promise<string | undefined>;
}

const ASK_AGAIN = new Set(['NONCE_EXPIRED', 'NONCE_SPENT', 'NONCE_UNKNOWN', 'EVIDENCE_POSITION', 'CONFLICT']);

/** Is it a refusal after which the same is tried once with a nonce that is asked for? */
export function asksAgain(error: unknown): boolean {
  return error instanceof KallioError && ASK_AGAIN.has(error.code);
}

/**
 * The agent's way to the server. Requests carry a client certificate for a TLS key that lives in this process's memory
 * and whose hash stood in a fresh quote: a copied state folder can't speak for this machine.
 */
export class Connection {
  readonly #config: AgentConfig;
  readonly #sources: Sources & Enrolled;
  readonly #ca: string;
  /** Evidence is shown one message at a time: each goes on from where the one before ended. */
  readonly #turns = new Turns();
  readonly #connecting = new Turns();
  #client: { readonly client: Client; readonly renewAt: number } | undefined;
  #standing: Standing | undefined;

  constructor(config: AgentConfig, sources: Sources & Enrolled) {
    this.#config = config;
    this.#sources = sources;
    this.#ca = readFileSync(config.serverCa, 'utf8');
  }

  /** A client whose certificate is in force. */
  client(): Promise<Client> {
    return this.#connecting.take(async () => {
      if (this.#client === undefined || Date.now() >= this.#client.renewAt) {
        const fresh = await this.#turns.take(() => this.#connect());
        // Requests under way on the old connection end by themselves.
        void this.#client?.client.close().catch(() => undefined);
        this.#client = fresh;
      }
      return this.#client.client;
    });
  }

  /** Forgets the certificate: the next request shows fresh evidence for another. */
  reset(): void {
    this.#client = undefined;
    this.#standing = undefined;
  }

  /** Shows evidence now; in several messages where the logs are longer than one. */
  async attest(): Promise<EvidenceReply> {
    const client = await this.client();
    return this.#turns.take(() => this.#attest(client));
  }

  /** Asks for a nonce, gathers evidence for it, and hands both on, while no other evidence is shown. */
  async answering<T>(
    ask: (client: Client) => Promise<Question>,
    answer: (client: Client, evidence: EvidenceMessage, question: Question) => Promise<T>,
  ): Promise<T> {
    const client = await this.client();
    return this.#turns.take(async () => {
      const question = await ask(client);
      let { message, more } = await gatherEvidence(this.#sources, question);
      if (more) {
        // A log that is shown in part proves nothing: whatever this is for gets the end of it.
        const from = (await this.#attest(client)).acknowledged;
        ({ message } = await gatherEvidence(this.#sources, { ...question, from }));
      }
      // The nonce at hand is older than this evidence, and the server holds its age against the TPM's clock.
      this.#standing = undefined;
      return answer(client, message, question);
    });
  }

  /** Says goodbye, so that the server knows that no evidence will come. */
  async leave(doing: 'rebooting' | 'ending'): Promise<void> {
    if (this.#client !== undefined) await this.#say(this.#client.client, doing);
  }

  /** What is said so is worth saying once: a server that does not hear it goes by its clock. */
  async #say(client: Client, doing: 'quoting' | 'rebooting' | 'ending'): Promise<void> {
    const said = client.call(attesterActivity, { body: { doing } });
    const late = wait(GOODBYE_MS, undefined, { ref: false });
    await Promise.race([said, late]).catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.#client?.client.close();
  }

  async #attest(client: Client): Promise<EvidenceReply> {
    for (let shown = 1; ; shown++) {
      const { reply, more } = await this.#show(client);
      if (!more || shown === MAX_IN_A_ROW) return reply;
    }
  }

  /** One cycle: with the nonce of the answer before where there is one, so that it is one request. */
  async #show(client: Client): Promise<{ readonly reply: EvidenceReply; readonly more: boolean }> {
    const standing = this.#standing;
    this.#standing = undefined;
    if (standing === undefined || performance.now() >= standing.until) return this.#showFor(client);
    try {
      return await this.#showFor(client, standing);
    } catch (error) {
      // The server was started from a backup, or the TPM took its time: ask what it wants now.
      if (!asksAgain(error)) throw error;
      return this.#showFor(client);
    }
  }

  async #showFor(client: Client, standing?: Standing) {
    const purpose = 'attest' as const;
    const { nonce, from } =
      standing ?? (await client.call(nonceCreate, { body: { attester: this.#config.attester, purpose } }));
    const gathering = gatherEvidence(this.#sources, { purpose, nonce, from });
    // A TPM that takes its time is told, so that nobody takes this machine for one that went quiet.
    const late = setTimeout(() => void this.#say(client, 'quoting'), SLOW_MS);
    const { message, more } = await gathering.finally(() => clearTimeout(late));
    const reply = await client.call(evidenceSubmit, { body: message });
    this.#standing = {
      nonce: reply.next.nonce,
      from: reply.acknowledged,
      until: performance.now() + reply.next.seconds * 1000 - NONCE_RESERVE_MS,
    };
    return { reply, more };
  }

  async #connect(): Promise<{ client: Client; renewAt: number }> {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
    const tlsKey: Digest = digestOf(spki);
    const { attester, server } = this.#config;
    const anonymous = new Client({ url: server, ca: this.#ca });
    try {
      const purpose = 'transport-key' as const;
      const enrolment = await this.#sources.enrolment();
      const { nonce, from } = await anonymous.call(nonceCreate, {
        body: { attester, purpose, ...(enrolment === undefined ? {} : { enrolment }) },
      });
      this.#standing = undefined;
      const { message: evidence } = await gatherEvidence(this.#sources, { purpose, nonce, from, tlsKey });
      const began = Date.now();
      const { certificate, notAfter } = await anonymous.call(certificateCreate, {
        body: { evidence, tlsKey: toBase64(spki) },
      });
      const key = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
      const life = Math.max(new Date(notAfter).getTime() - began, 10_000);
      return {
        client: new Client({ url: server, ca: this.#ca, identity: { certificate, key } }),
        renewAt: began + life * RENEW_AT,
      };
    } finally {
      await anonymous.close();
    }
  }
}
