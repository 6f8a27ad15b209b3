import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { bareTpmPolicy } from '@kallio/appraisal';
import { fromBase64 } from '@kallio/codec';
import { logEntry, logProof, policyPut, trustShow } from '@kallio/protocol';
import {
  COSIGNATURE_KEY,
  formatVerifierKey,
  leafHash,
  NOTE_KEY,
  parseTlogProof,
  parseVerifierKey,
  type Seen,
  type VerifierKey,
  verifyTlogProof,
  Witness,
} from '@kallio/tlog';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configure, type TestServer, testServer } from './fixture-server.ts';

/** A witness that listens on HTTP, as an operator of another house would run one. */
class RunningWitness {
  readonly key: VerifierKey;
  readonly vkey: string;
  readonly #private = generateKeyPairSync('ed25519');
  readonly #kept = new Map<string, Seen>();
  #http: Server | undefined;
  #witness: Witness | undefined;
  /** What it answers instead, while it misbehaves. */
  instead: ((path: string) => string) | undefined;
  /** How often it says what it says. */
  times = 1;
  asked = 0;

  constructor(name: string) {
    const spki = this.#private.publicKey.export({ type: 'spki', format: 'der' });
    this.vkey = formatVerifierKey(name, COSIGNATURE_KEY, new Uint8Array(spki.subarray(-32)));
    this.key = parseVerifierKey(this.vkey, COSIGNATURE_KEY);
  }

  async listen(): Promise<string> {
    this.#http = createServer(async (request, response) => {
      this.asked++;
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      if (this.instead !== undefined) return void response.end(this.instead(request.url ?? ''));
      expect(request.url).toBe('/w/add-checkpoint');
      const answer = await this.#witness?.addCheckpoint(Buffer.concat(chunks).toString('utf8'));
      response.writeHead(answer?.status ?? 503, { 'content-type': answer?.type ?? 'text/plain' });
      response.end(answer?.body.repeat(this.times));
    });
    this.#http.listen(0, '127.0.0.1');
    await once(this.#http, 'listening');
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}/w/`;
  }

  knows(log: VerifierKey): void {
    const { name, raw } = this.key;
    const memory = {
      seen: (origin: string) => this.#kept.get(origin),
      keep: async (origin: string, head: Seen) => void this.#kept.set(origin, head),
    };
    this.#witness = new Witness({
      name,
      raw,
      key: this.#private.privateKey,
      logs: [log],
      memory,
      now: () => new Date(),
    });
  }

  async close(): Promise<void> {
    this.#http?.closeAllConnections();
    await new Promise((resolve) => this.#http?.close(resolve));
  }
}

let server: TestServer;
let one: RunningWitness;
let two: RunningWitness;
let log: VerifierKey;

beforeEach(async () => {
  one = new RunningWitness('w.example/1');
  two = new RunningWitness('w.example/2');
  const witnesses = [
    { key: one.vkey, url: await one.listen() },
    { key: two.vkey, url: await two.listen() },
  ];
  server = await testServer({}, (dataDir) =>
    configure(dataDir, { log: { witnesses }, logLevel: 'silent' } as never),
  );
  const trust = await server.client().call(trustShow, {});
  expect(trust.log.witnesses).toEqual([one.vkey, two.vkey]);
  log = parseVerifierKey(trust.log.verifierKey, NOTE_KEY);
  one.knows(log);
  two.knows(log);
});
afterEach(async () => {
  await server.stop();
  await one.close();
  await two.close();
});

/** Asks for the proof of an entry and verifies it: who signed the head. */
async function proved(index: number): Promise<string[]> {
  const client = server.client();
  const { proof, witnesses } = await client.call(logProof, { params: { index } });
  const { body } = await client.call(logEntry, { params: { index } });
  const found = verifyTlogProof(parseTlogProof(proof), leafHash(fromBase64(body)), {
    log,
    witnesses: [one.key, two.key],
  });
  const names = found.cosigned.map(({ witness }) => witness.name);
  expect(names).toEqual(witnesses);
  return names;
}

describe('a log that has witnesses', () => {
  it('proves an entry under a head that all of them signed, and asks them once for a head', async () => {
    expect(await proved(0)).toEqual([one.key.name, two.key.name]);
    expect(await Promise.all([proved(0), proved(0)])).toHaveLength(2);
    expect([one.asked, two.asked]).toEqual([1, 1]);
  });

  it('goes on from what a witness saw after a restart, as the witness says', async () => {
    await proved(0);
    await server.restart();
    expect(await proved(0)).toEqual([one.key.name, two.key.name]);
    // From zero, told where the witness is, from there.
    expect(one.asked).toBe(3);
  });

  it('goes without a witness that is away, and asks it again later', async () => {
    await two.close();
    expect(await proved(0)).toEqual([one.key.name]);
    expect(await proved(0)).toEqual([one.key.name]);
    expect(one.asked).toBe(1);
    server.advance(60);
    await proved(0);
    expect(one.asked).toBe(2);
  });

  it('proves by a head that all signed what it covers, though one of them is away by now', async () => {
    expect(await proved(0)).toHaveLength(2);
    const body = bareTpmPolicy('another', 'device');
    // A change of policy is an entry of the log.
    const { logIndex } = await server.admin().call(policyPut, { params: { kind: 'device' }, body });
    await two.close();
    expect(await proved(logIndex)).toEqual([one.key.name]);
    expect(await proved(0)).toHaveLength(2);
  });

  it('passes on nothing of a witness that it did not ask for, or that does not hold', async () => {
    expect(await proved(0)).toHaveLength(2);
    const bad: string[] = [
      'no signature at all\n',
      `— ${two.key.name} ${Buffer.alloc(76).toString('base64')}\n`,
      `— somebody.example/else ${Buffer.alloc(76).toString('base64')}\n`,
      'x'.repeat(100_000),
    ];
    for (const answer of bad) {
      server.advance(60);
      await server.restart();
      two.instead = () => answer;
      expect(await proved(0)).toEqual([one.key.name]);
    }
    two.instead = undefined;
    server.advance(60);
    expect(await proved(0)).toHaveLength(2);
  });

  it('is kept from no proof by a witness that fills the head with its own lines', async () => {
    // With the log's own line and the other witness's: one more than a note may have.
    two.times = 127;
    expect(await proved(0)).toEqual([one.key.name]);
    two.times = 1;
    server.advance(60);
    expect(await proved(0)).toEqual([one.key.name, two.key.name]);
  });

  it('has no proof of what it does not hold, and asks nobody for it', async () => {
    const reply = server.client().call(logProof, { params: { index: 1000 } });
    await expect(reply).rejects.toThrow(expect.objectContaining({ code: 'LOG_RANGE' }));
    expect(one.asked).toBe(0);
  });
});
