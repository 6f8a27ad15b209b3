import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Digest, digestOf, toBase64 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { Client, certificateCreate, type EvidenceReply, evidenceSubmit, nonceCreate } from '@kallio/protocol';
import type { AgentConfig } from './config.ts';
import { gatherEvidence, type Question, type Sources } from './evidence.ts';
import { Turns } from './turns.ts';

/** A client certificate is renewed when this much of its life is over. */
const RENEW_AT = 0.6;

/**
 * The agent's way to the server. Requests carry a client certificate for a TLS key that lives in this process's memory
 * and whose hash stood in a fresh quote: a copied state folder can't speak for this machine.
 */
export class Connection {
  readonly #config: AgentConfig;
  readonly #sources: Sources;
  readonly #ca: string;
  /** Evidence is shown one message at a time: each goes on from where the one before ended. */
  readonly #turns = new Turns();
  readonly #connecting = new Turns();
  #client: { readonly client: Client; readonly renewAt: number } | undefined;

  constructor(config: AgentConfig, sources: Sources) {
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
  }

  /** Shows evidence now. */
  async attest(): Promise<EvidenceReply> {
    const client = await this.client();
    return this.#turns.take(async () => {
      const { nonce, from } = await client.call(nonceCreate, {
        body: { attester: this.#config.attester, purpose: 'attest' },
      });
      const evidence = await gatherEvidence(this.#sources, { purpose: 'attest', nonce, from });
      return client.call(evidenceSubmit, { body: evidence });
    });
  }

  /** Asks for a nonce, gathers evidence for it, and hands both on, while no other evidence is shown. */
  async answering<T>(
    ask: (client: Client) => Promise<Question>,
    answer: (client: Client, evidence: EvidenceMessage, question: Question) => Promise<T>,
  ): Promise<T> {
    const client = await this.client();
    return this.#turns.take(async () => {
      const question = await ask(client);
      return answer(client, await gatherEvidence(this.#sources, question), question);
    });
  }

  async close(): Promise<void> {
    await this.#client?.client.close();
  }

  async #connect(): Promise<{ client: Client; renewAt: number }> {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
    const tlsKey: Digest = digestOf(spki);
    const { attester, server } = this.#config;
    const anonymous = new Client({ url: server, ca: this.#ca });
    try {
      const purpose = 'transport-key' as const;
      const { nonce, from } = await anonymous.call(nonceCreate, { body: { attester, purpose } });
      const evidence = await gatherEvidence(this.#sources, { purpose, nonce, from, tlsKey });
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
