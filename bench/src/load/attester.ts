import { generateKeyPairSync } from 'node:crypto';
import { digestOf, toBase64 } from '@kallio/codec';
import { type EvidenceReply, evidenceSubmit } from '@kallio/protocol';
import type { Machine } from '../attester/machine.ts';
import { type Answer, Connection, type Target } from './connection.ts';
import type { Site } from './site.ts';

/** An attester on the wire: it earns a certificate, and then shows evidence, one request a cycle. */
export class LoadAttester {
  readonly #machine: Machine;
  readonly #site: Site;
  #connection: Connection | undefined;
  #identity: NonNullable<Target['identity']> | undefined;
  #nonce = '';

  constructor(machine: Machine, site: Site) {
    this.#machine = machine;
    this.#site = site;
  }

  /** Earns a certificate by its first evidence, and shows its logs. */
  async begin(): Promise<void> {
    const plain = await Connection.open(this.#site);
    const { attester, keys } = {
      attester: this.#machine.id,
      keys: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    };
    const spki = new Uint8Array(keys.publicKey.export({ format: 'der', type: 'spki' }));
    const asked = await plain.post('/v1/nonces', { attester, purpose: 'transport-key' });
    const { nonce } = parsed<{ nonce: string }>(asked);
    const evidence = this.#machine.first({ purpose: 'transport-key', nonce, tlsKey: digestOf(spki) });
    const earned = await plain.post('/v1/certificates', { evidence, tlsKey: toBase64(spki) });
    const { certificate } = parsed<{ certificate: string }>(earned);
    plain.close();
    this.#identity = {
      certificate,
      key: keys.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    };
  }

  /** The open connection; where there is none (any more), a new one, and with it a nonce. */
  async #connected(): Promise<Connection> {
    if (this.#connection?.closed === false) return this.#connection;
    this.#connection = await Connection.open({
      ...this.#site,
      ...(this.#identity === undefined ? {} : { identity: this.#identity }),
    });
    const asked = await this.#connection.post('/v1/nonces', {
      attester: this.#machine.id,
      purpose: 'attest',
    });
    this.#nonce = parsed<{ nonce: string }>(asked).nonce;
    return this.#connection;
  }

  /** One cycle: evidence for the nonce that came with the last answer. Throws unless everything is VERIFIED. */
  async cycle(): Promise<void> {
    const connection = await this.#connected();
    const evidence = this.#machine.steadyText(this.#nonce);
    const { platform, instances, next } = parsed<EvidenceReply>(
      await connection.postText(evidenceSubmit.path, evidence),
    );
    const states = [platform, ...Object.values(instances)].map(({ state }) => state);
    if (states.some((state) => state !== 'VERIFIED')) {
      throw new Error(`what is measured must be VERIFIED: ${states} ${JSON.stringify(platform.reasons)}`);
    }
    this.#nonce = next.nonce;
  }

  /** What comes next begins with a new connection. */
  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }
}

function parsed<T>({ status, body }: Answer): T {
  if (status !== 200)
    throw new Error(`the server answered ${status}: ${body.toString('utf8').slice(0, 500)}`);
  return JSON.parse(body.toString('utf8'));
}
