import { generateKeyPairSync, sign } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { verifyEar } from '@kallio/appraisal';
import { type Digest, digestOfText, fromBase64, toBase64 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { evidenceSubmit } from '@kallio/protocol';
import { marshalPublic, marshalSignature, parsePublic } from '@kallio/tpm/structures';
import { expect, it } from 'vitest';
import { submitEvidence } from '../src/attestation/evidence.ts';
import { SteadyCommits, type SteadyQuestion } from '../src/attestation/steady-commits.ts';
import { Turns } from '../src/attestation/turns.ts';
import { admitted } from './fixture-attester.ts';
import { testSite } from './fixture-site.ts';
import { copiedVerifier } from './fixture-verifier.ts';

const site = testSite(['one']);
const code = (c: string) => expect.objectContaining({ code: c });

/** Notes what became of each question; something may happen before it goes to the thread, and after it was answered. */
class Observed extends SteadyCommits {
  readonly outcomes: (boolean | string)[] = [];
  before: () => unknown = () => undefined;
  after: () => void = () => undefined;
  /** What goes to the thread in place of what was asked. */
  instead: (question: SteadyQuestion) => SteadyQuestion = (question) => question;

  override async record(question: SteadyQuestion): Promise<Digest | undefined> {
    await this.before();
    try {
      const digest = await super.record(this.instead(question));
      this.after();
      this.outcomes.push(digest !== undefined);
      return digest;
    } catch (error) {
      this.outcomes.push(String(error));
      throw error;
    }
  }
}

/** Leaves all evidence to those who judge any. */
class Never extends Observed {
  override async record(): Promise<undefined> {
    return undefined;
  }
}

/** A device that its server knows well, so that its evidence says nothing new. */
async function wellKnown() {
  const { server } = site;
  const device = await admitted(server, site.tpm('one'), 'device-1', 'device');
  const client = await device.connect(server);
  await client.call(evidenceSubmit, { body: await device.attest(client) });
  device.unchanged = true;
  return device;
}

interface Copy {
  readonly device?: Awaited<ReturnType<typeof wellKnown>>;
  readonly kind?: typeof Observed;
  /** Changes the copied store. */
  readonly change?: (path: string) => void;
}

/** A copy of a server that knows a device well, and evidence of it that says nothing new. */
async function steady(name: string, { device: known, kind = Observed, change = () => undefined }: Copy = {}) {
  const { server } = site;
  const device = known ?? (await wellKnown());
  const observed: Observed[] = [];
  const { verifier, close } = await copiedVerifier(site, name, {
    commits: (path) => {
      change(path);
      const commits = new kind(path);
      observed.push(commits);
      return commits;
    },
  });
  const [commits] = observed;
  if (commits === undefined) throw new Error('nothing commits');
  const { store, nonces, keys } = verifier;
  const now = () => server.now();
  const claim = store.claims.admittedAs('device-1')?.claim ?? 0;
  const evidence = () => {
    const { nonce } = nonces.issue({ attester: 'device-1', purpose: 'attest' }, now());
    return device.evidence({ purpose: 'attest', nonce });
  };
  // Turns of its own for each: as if the same were judged elsewhere.
  const submit = (message: EvidenceMessage, at = now()) =>
    submitEvidence({ ...verifier, turns: new Turns() }, 'device-1', message, at);
  const last = () => store.results.lastOf(claim)?.digest;
  return { device, store, keys, claim, commits, evidence, submit, close, last };
}

it('is recorded by the other thread where nothing has changed, time and again', async () => {
  const { commits, evidence, submit, close, last, store, keys } = await steady('steady');
  const before = last();
  const changes = store.events.after(0, 100).length;
  for (let i = 0; i < 3; i++) {
    const { platform, result } = await submit(await evidence());
    expect(platform.state).toBe('VERIFIED');
    expect(last()).toBe(result);
    expect(last()).not.toBe(before);
    // What was signed there is what anybody believes, and what it is known by.
    const { ear = '', record } = store.results.get(result) ?? {};
    expect(result).toBe(digestOfText(ear));
    const trust = { issuer: 'verifier.edge.test', jwks: keys.jwks };
    const { platform: claimed } = await verifyEar(ear, trust, site.server.now());
    expect(claimed).toMatchObject({ state: 'VERIFIED', evidence: record?.evidence });
  }
  expect(commits.outcomes).toEqual([true, true, true]);
  expect(store.events.after(0, 100)).toHaveLength(changes);
  await close();
});

it('leaves no trace of an attester that was refused between judging and commit', async () => {
  // Attack: a machine that the operator throws out has evidence under way.
  const { store, claim, commits, evidence, submit, close, last } = await steady('refused');
  const honest = await submit(await evidence());
  commits.before = () =>
    store.claims.decide(claim, 'refused', undefined, 'token:op', site.server.now().getTime());
  await expect(submit(await evidence())).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));
  expect(commits.outcomes).toEqual([true, false]);
  expect(last()).toBe(honest.result);
  await close();
});

it('tells that an attester is well again, which was told STALE between judging and commit', async () => {
  const { store, claim, commits, evidence, submit, close, last } = await steady('stale');
  await submit(await evidence());
  const changes = store.events.after(0, 100).length;
  commits.before = () => {
    const { instances = {} } = store.standings.get(claim) ?? {};
    store.standings.set(claim, { platform: 'STALE', instances });
  };
  const { result } = await submit(await evidence());
  expect(commits.outcomes).toEqual([true, false]);
  expect(last()).toBe(result);
  const [told, ...others] = store.events.after(0, 100).slice(changes);
  expect(told).toMatchObject({ type: 'attester.state', data: { from: 'STALE', to: 'VERIFIED', result } });
  expect(others).toEqual([]);
  expect(store.standings.get(claim)?.platform).toBe('VERIFIED');
  await close();
});

it('is recorded once, where the same comes twice at one time', async () => {
  const { commits, evidence, submit, close, last } = await steady('twice');
  const message = await evidence();
  const [first, second] = await Promise.allSettled([submit(message), submit(message)]);
  expect(first).toMatchObject({ status: 'fulfilled', value: { result: last() } });
  expect(second).toMatchObject({ status: 'rejected', reason: { code: 'NONCE_SPENT' } });
  expect(commits.outcomes).toEqual([true, false]);
  await expect(submit(message)).rejects.toThrow(code('NONCE_SPENT'));
  await close();
});

it('is refused when the thread ends before the commit: nothing is written, and the same works then', async () => {
  const { commits, evidence, submit, close, last } = await steady('ended');
  const before = last();
  const message = await evidence();
  commits.instead = (question) => ({ ...question, writes: [{ sql: 'no SQL at all', values: [] }] });
  await expect(submit(message)).rejects.toThrow('syntax error');
  commits.instead = (question) => question;
  expect(last()).toBe(before);
  expect((await submit(message)).result).toBe(last());
  expect(last()).not.toBe(before);
  expect((await submit(await evidence())).result).toBe(last());
  expect(commits.outcomes.slice(-2)).toEqual([true, true]);
  await close();
});

it('is spent when the thread ends between commit and answer, and the next goes on from there', async () => {
  const { commits, evidence, submit, close, last } = await steady('lost');
  const before = last();
  const message = await evidence();
  commits.after = () => {
    commits.after = () => undefined;
    throw new Error('the answer was lost');
  };
  // As if the answer had never come: what was to be done with it is not done.
  commits.instead = ({ writes, ...others }) => ({
    ...others,
    writes: writes.map(({ sql, values }) => ({ sql, values })),
  });
  await expect(submit(message)).rejects.toThrow('the answer was lost');
  commits.instead = (question) => question;
  expect(last()).not.toBe(before);
  await expect(submit(message)).rejects.toThrow(code('NONCE_SPENT'));
  expect((await submit(await evidence())).result).toBe(last());
  expect(commits.outcomes.at(-1)).toBe(true);
  await close();
});

/** Where a TPMS_ATTEST has its clock: behind magic, type, signer and question (TPM 2.0 Part 2, section 10.12.12). */
function clockAt(attest: Uint8Array): number {
  const view = new DataView(attest.buffer, attest.byteOffset);
  const question = 4 + 2 + 2 + view.getUint16(6);
  return question + 2 + view.getUint16(question);
}

/** The same, with numbers in it that the TPM never said. */
function changed(message: EvidenceMessage, change: (view: DataView, clock: number) => void): EvidenceMessage {
  const attest = new Uint8Array(fromBase64(message.quote.attest));
  change(new DataView(attest.buffer), clockAt(attest));
  return { ...message, quote: { ...message.quote, attest: toBase64(attest) } };
}

const hours = (count: number) => BigInt(count) * 3_600_000n;
type Forge = (message: EvidenceMessage, other: EvidenceMessage) => EvidenceMessage;

it.each<[what: string, outcomes: boolean[], forge: Forge]>([
  [
    'the signature of another quote',
    [false],
    (message, { quote: { signature } }) => ({ ...message, quote: { ...message.quote, signature } }),
  ],
  [
    // Attack: evidence of the machine when it was well, at a time when it is not.
    'a clock that its TPM does not show',
    [false],
    (message) => changed(message, (view, at) => view.setBigUint64(at, view.getBigUint64(at) + hours(1))),
  ],
  [
    // Refused before anybody asks whether it was signed.
    'a firmware of the TPM that it does not have',
    [],
    (message) => changed(message, (view, at) => view.setUint8(at + 17, view.getUint8(at + 17) ^ 1)),
  ],
])(
  'is refused with %s, leaves what any other leaves, and the next is well',
  async (what, outcomes, forge) => {
    const device = await wellKnown();
    const quick = await steady(`forged: ${what}`, { device });
    const thorough = await steady(`forged, seen at once: ${what}`, { device, kind: Never });
    const forged = forge(await quick.evidence(), await quick.evidence());
    const at = site.server.now();
    const left = async ({ store, claim, submit, last }: typeof quick) => {
      const before = store.continuity.get(claim);
      const { result, platform } = await submit(forged, at);
      expect(last()).toBe(result);
      expect(store.continuity.get(claim)).toBe(before);
      const { record } = store.results.get(result) ?? {};
      const { dueAt: _, ...standing } = store.standings.get(claim) ?? {};
      await expect(submit(forged)).rejects.toThrow(code('NONCE_SPENT'));
      return { platform, record, standing, events: store.events.after(0, 100).map(({ type }) => type) };
    };
    const traces = await left(quick);
    expect(traces.platform).toMatchObject({ state: 'UNKNOWN', reasons: [{ code: 'QUOTE_SIGNATURE' }] });
    expect(quick.commits.outcomes).toEqual(outcomes);
    expect(traces).toEqual(await left(thorough));
    // The first comes from UNKNOWN and is told; then all is as it was.
    for (let i = 0; i < 3; i++) {
      const { platform, result } = await quick.submit(await quick.evidence());
      expect(platform).toMatchObject({ state: 'VERIFIED', reasons: [] });
      expect(quick.last()).toBe(result);
    }
    expect(quick.commits.outcomes.slice(-2)).toEqual([true, true]);
    await quick.close();
    await thorough.close();
  },
);

it('is judged anew where other evidence was recorded meanwhile, and refused if that is of later', async () => {
  const { store, commits, evidence, submit, close } = await steady('overtaken');
  const overtakenBy = (other: EvidenceMessage) => {
    commits.before = async () => {
      commits.before = () => undefined;
      expect((await submit(other)).platform.state).toBe('VERIFIED');
    };
  };
  const [first, second] = [await evidence(), await evidence()];
  overtakenBy(first);
  const { platform, result } = await submit(second);
  expect(platform.state).toBe('VERIFIED');
  expect(commits.outcomes).toEqual([true, false]);
  expect(store.results.get(result)?.record.platform.state).toBe('VERIFIED');
  // Attack: evidence is kept back, to undo what newer evidence showed.
  const keptBack = await evidence();
  await new Promise((resolve) => setTimeout(resolve, 20));
  overtakenBy(await evidence());
  const refused = await submit(keptBack);
  expect(refused.platform).toMatchObject({ state: 'UNKNOWN', reasons: [{ code: 'CLOCK_WENT_BACK' }] });
  expect(commits.outcomes).toEqual([true, false, true, false]);
  await close();
});

/** An AK of another kind, made of software, that signs what a TPM says. */
function rsaAk(scheme: 'rsassa' | 'rsapss', like: Uint8Array) {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { n = '' } = publicKey.export({ format: 'jwk' });
  const { nameAlg, attributes, authPolicy } = parsePublic(like);
  const akPublic = marshalPublic({
    ...{
      type: 'rsa',
      nameAlg,
      attributes,
      authPolicy,
      symmetric: 'null',
      scheme: { scheme, hash: 'sha256' },
    },
    ...{ keyBits: 2048, exponent: 0, modulus: new Uint8Array(Buffer.from(n, 'base64url')) },
  });
  const padding = scheme === 'rsapss' ? { padding: 6, saltLength: 32 } : { padding: 1 };
  const signed = (message: EvidenceMessage): EvidenceMessage => {
    const signature = sign('sha256', fromBase64(message.quote.attest), { key: privateKey, ...padding });
    const text = toBase64(marshalSignature({ scheme, hash: 'sha256', signature }));
    return { ...message, quote: { ...message.quote, signature: text } };
  };
  return { akPublic, signed };
}

it.each(['rsassa', 'rsapss'] as const)(
  'is recorded in the same way when an AK signed it by %s',
  async (scheme) => {
    const device = await wellKnown();
    const { akPublic, signed } = rsaAk(scheme, site.tpm('one').akPublic);
    const { commits, evidence, submit, close, last } = await steady(scheme, {
      device,
      change: (path) => {
        const db = new DatabaseSync(path);
        db.prepare(`UPDATE claims SET ak = ?, ak_public = ? WHERE attester = 'device-1'`).run(
          scheme,
          akPublic,
        );
        db.close();
      },
    });
    for (let i = 0; i < 2; i++) {
      const { platform, result } = await submit(signed(await evidence()));
      expect(platform.state).toBe('VERIFIED');
      expect(last()).toBe(result);
    }
    expect(commits.outcomes).toEqual([true, true]);
    const [message, other] = [signed(await evidence()), signed(await evidence())];
    const forged = { ...message, quote: { ...message.quote, signature: other.quote.signature } };
    expect((await submit(forged)).platform).toMatchObject({
      state: 'UNKNOWN',
      reasons: [{ code: 'QUOTE_SIGNATURE' }],
    });
    expect((await submit(other)).platform.state).toBe('VERIFIED');
    await close();
  },
);
