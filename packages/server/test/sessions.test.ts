import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifyEar } from '@kallio/appraisal';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import {
  type Client,
  differsFromEvents,
  evidenceSubmit,
  policyPut,
  policyShow,
  sessionAbandon,
  sessionClose,
  sessionCreate,
  sessionEvents,
  sessionOpen,
  sessionShow,
  sessionsList,
  trustShow,
} from '@kallio/protocol';
import { parsePublic, publicKeyOf, signingAuthority, signingPolicy } from '@kallio/tpm/structures';
import { beforeEach, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import { policies } from './fixture-policies.ts';
import { type TestServer, testServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const image: Digest = digestOf(utf8('an image'));
const other: Digest = digestOf(utf8('another image'));
const statement: Digest = digestOf(utf8('claims'));

const site = testSite(['one', 'two'], { settings: { sessions: { windowSeconds: 100, maxUnderWay: 3 } } });
let one: TestTpm;
let two: TestTpm;
let server: TestServer;
let builder: TestAttester;
let client: Client;

beforeEach(async () => {
  ({ server } = site);
  [one, two] = [site.tpm('one'), site.tpm('two')];
  builder = await admitted(server, one, 'be-1');
  client = await builder.connect(server);
});

const events = async (session: string) =>
  (await server.admin().call(sessionEvents, { params: { session } })).events;
const show = (session: string) => server.admin().call(sessionShow, { params: { session } });
type Closing = Awaited<ReturnType<TestAttester['closing']>>;
const close = (session: string, body: Closing, by = client) =>
  by.call(sessionClose, { params: { session }, body });

describe('a session', () => {
  it('goes from opening to open to closed, with a signed result that names image, claims and key', async () => {
    const created = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    expect(await show(created.session)).toMatchObject({ state: 'opening', evidence: [] });
    const session = await builder.openSession(client);
    expect(await show(session)).toMatchObject({ state: 'open', attester: 'be-1' });
    const closed = await close(session, await builder.closing(client, session, image, statement));
    expect(closed).toMatchObject({ state: 'closed', subject: image, statement });

    const { issuer, jwks } = await client.call(trustShow, {});
    const claims = await verifyEar(closed.ear ?? '', { issuer, jwks }, server.now());
    const spki = publicKeyOf(parsePublic(one.signingPublic)).export({ format: 'der', type: 'spki' });
    expect(claims.session).toEqual({
      session,
      subject: image,
      statement,
      signingKey: digestOf(new Uint8Array(spki)),
      evidence: closed.evidence,
      builder: 'be-1',
      tier: 'C',
      boot: expect.any(Number),
      policy: closed.policy?.digest,
      head: closed.head,
    });
    const { id, digest } = await server.admin().call(policyShow, { params: { kind: 'builder' } });
    expect(closed.policy).toEqual({ id, digest });
  });

  it('shows its events to whoever may see it, and its head stands for just these', async () => {
    const session = await builder.openSession(client);
    const opened = await events(session);
    expect(opened.map(({ event }) => event)).toEqual(['created', 'opened']);
    expect(differsFromEvents(await show(session), opened)).toBeUndefined();
    const closed = await close(session, await builder.closing(client, session, image, statement));
    const all = await events(session);
    expect(all.slice(0, 2)).toEqual(opened);
    expect(all.at(-1)).toMatchObject({ event: 'closed', subject: image, statement, policy: closed.policy });
    expect(differsFromEvents(closed, all)).toBeUndefined();
    const later = all.map((event) => ({ ...event, at: event.at + 1 }));
    for (const others of [opened, all.slice(1), all.toReversed(), [...all, ...all], later]) {
      expect(differsFromEvents(closed, others)).toBe('head');
    }
    for (const field of ['subject', 'statement', 'state', 'policy', 'attester'] as const) {
      const { [field]: _, ...without } = closed;
      expect(differsFromEvents(without as typeof closed, all)).toBe(field);
    }
    const own = await client.call(sessionEvents, { params: { session } });
    expect(own).toEqual({ session, events: all });
    const stranger = await (await admitted(server, two, 'be-2')).connect(server);
    await expect(stranger.call(sessionEvents, { params: { session } })).rejects.toThrow(code('NOT_FOUND'));
    const nobody = server.client().call(sessionEvents, { params: { session } });
    await expect(nobody).rejects.toThrow(code('UNAUTHENTICATED'));
    const unknown = server.admin().call(sessionEvents, { params: { session: 'session-that-is-none' } });
    await expect(unknown).rejects.toThrow(code('NOT_FOUND'));
  });

  it('survives a restart of the server, open or closed', async () => {
    const session = await builder.openSession(client);
    await server.restart();
    client = await builder.connect(server);
    const closed = await close(session, await builder.closing(client, session, image, statement));
    await server.restart();
    expect(await show(session)).toEqual(closed);
  });

  it('answers a repeated closing the same, when the first answer got lost', async () => {
    const session = await builder.openSession(client);
    const closing = await builder.closing(client, session, image, statement);
    const first = await close(session, closing);
    expect(await close(session, closing)).toEqual(first);
  });

  it('is kept apart from another of the same build host', async () => {
    const [a, b] = [await builder.openSession(client), await builder.openSession(client)];
    expect(await close(b, await builder.closing(client, b, other, statement))).toMatchObject({
      subject: other,
    });
    expect(await close(a, await builder.closing(client, a, image, statement))).toMatchObject({
      subject: image,
    });
    const { sessions } = await server.admin().call(sessionsList, {});
    expect(sessions.map((s) => [s.session, s.state])).toEqual([
      [b, 'closed'],
      [a, 'closed'],
    ]);
  });

  it('can be given up', async () => {
    const session = await builder.openSession(client);
    const given = await client.call(sessionAbandon, { params: { session } });
    expect(given).toMatchObject({ state: 'failed', reason: { code: 'SESSION_ABANDONED' } });
    await expect(client.call(sessionAbandon, { params: { session } })).rejects.toThrow(
      code('SESSION_NOT_OPEN'),
    );
  });

  it('is for build hosts', async () => {
    const device = await (await admitted(server, two, 'device-1', 'device')).connect(server);
    await expect(device.call(sessionCreate, { body: { purpose: 'image-build' } })).rejects.toThrow(
      code('SESSION_NOT_BUILDER'),
    );
  });

  it('is one of a bounded number under way', async () => {
    const begin = () => client.call(sessionCreate, { body: { purpose: 'image-build' } });
    await Promise.all([begin(), begin(), begin()]);
    await expect(begin()).rejects.toThrow(code('SESSION_TOO_MANY'));
    server.advance(100);
    await begin();
  });
});

describe('a session is not opened', () => {
  it('with evidence for something else, or of another host: it has failed, with the reason', async () => {
    const begin = () => client.call(sessionCreate, { body: { purpose: 'image-build' } });
    const open = ({ session }: { session: string }, evidence: EvidenceMessage) =>
      client.call(sessionOpen, { params: { session }, body: { evidence } });
    const wrong = await begin();
    const evidence = await builder.evidence({ purpose: 'attest', nonce: wrong.nonce });
    await expect(open(wrong, evidence)).rejects.toThrow(code('EVIDENCE_WRONG_PURPOSE'));
    expect(await show(wrong.session)).toMatchObject({
      state: 'failed',
      reason: { code: 'EVIDENCE_WRONG_PURPOSE' },
    });
    const theirs = await begin();
    const stranger = await admitted(server, two, 'be-2');
    const foreign = await stranger.evidence({
      purpose: 'session-open',
      nonce: theirs.nonce,
      session: theirs.session,
    });
    await expect(open(theirs, foreign)).rejects.toThrow(code('EVIDENCE_OTHER_ATTESTER'));
    expect(await show(theirs.session)).toMatchObject({
      state: 'failed',
      reason: { code: 'EVIDENCE_OTHER_ATTESTER' },
    });
    // The honest twin.
    const own = await begin();
    const honest = await builder.evidence({
      purpose: 'session-open',
      nonce: own.nonce,
      session: own.session,
    });
    expect(await open(own, honest)).toMatchObject({ state: 'open' });
  });

  it('after its window, and is before its end', async () => {
    const begin = async () => {
      const { session } = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
      return async () => {
        const nonce = await builder.nonce(client, 'session-open', session);
        const evidence = await builder.evidence({ purpose: 'session-open', nonce, session });
        return client.call(sessionOpen, { params: { session }, body: { evidence } });
      };
    };
    const late = await begin();
    server.advance(1);
    const timely = await begin();
    server.advance(90);
    expect(await timely()).toMatchObject({ state: 'open' });
    server.advance(9);
    await expect(late()).rejects.toThrow(code('SESSION_EXPIRED'));
  });

  it('by a platform that is not VERIFIED; it has failed, with the reason', async () => {
    const { session, nonce } = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    await one.extend(4, new Uint8Array(32).fill(1));
    const evidence = await builder.evidence({ purpose: 'session-open', nonce, session });
    const opening = client.call(sessionOpen, { params: { session }, body: { evidence } });
    await expect(opening).rejects.toThrow(code('SESSION_PLATFORM_NOT_VERIFIED'));
    expect(await show(session)).toMatchObject({
      state: 'failed',
      reason: { code: 'SESSION_PLATFORM_NOT_VERIFIED', pointer: 'pcr:4' },
    });
  });

  it('twice, nor with evidence for another session', async () => {
    const [a, b] = [
      await client.call(sessionCreate, { body: { purpose: 'image-build' } }),
      await client.call(sessionCreate, { body: { purpose: 'image-build' } }),
    ];
    const evidence = await builder.evidence({ purpose: 'session-open', nonce: a.nonce, session: a.session });
    const open = (session: string) => client.call(sessionOpen, { params: { session }, body: { evidence } });
    await expect(open(b.session)).rejects.toThrow(code('NONCE_UNKNOWN'));
    expect(await open(a.session)).toMatchObject({ state: 'open' });
    await expect(open(a.session)).rejects.toThrow(code('SESSION_NOT_OPENING'));
  });
});

describe('a session is not closed', () => {
  let session: string;
  beforeEach(async () => {
    session = await builder.openSession(client);
  });
  const honest = () => builder.closing(client, session, image, statement);
  /** The refusal, and that it is the session’s end. */
  const failsFor = async (body: Closing, c: string) => {
    await expect(close(session, body)).rejects.toThrow(code(c));
    expect(await show(session)).toMatchObject({ state: 'failed', reason: { code: c } });
    expect(await show(session)).not.toHaveProperty('ear');
    await expect(close(session, await honest())).rejects.toThrow(code('SESSION_NOT_OPEN'));
    // The honest twin: another session, closed.
    const again = await builder.openSession(client);
    const closing = await builder.closing(client, again, image, statement);
    expect(await close(again, closing)).toMatchObject({ state: 'closed' });
  };

  it('on another image or other claims than the quote commits to', async () => {
    await failsFor({ ...(await honest()), subject: other }, 'SESSION_EVIDENCE_REFUSED');
    session = await builder.openSession(client);
    await failsFor({ ...(await honest()), statement: other }, 'SESSION_EVIDENCE_REFUSED');
  });

  it('when the build host was rebooted since it was opened', async () => {
    await builder.reboot();
    await failsFor(await honest(), 'SESSION_REBOOTED');
  });

  it('when the host measured something unknown during the build', async () => {
    await one.extend(4, new Uint8Array(32).fill(1));
    await expect(close(session, await honest())).rejects.toThrow(code('SESSION_PLATFORM_NOT_VERIFIED'));
    expect(await show(session)).toMatchObject({ state: 'failed' });
  });

  it('when the host showed a violation in between, whatever it shows later', async () => {
    await one.extend(4, new Uint8Array(32).fill(1));
    await client.call(evidenceSubmit, { body: await builder.attest(client) });
    expect(await show(session)).toMatchObject({
      state: 'failed',
      reason: { code: 'SESSION_PLATFORM_VIOLATED' },
    });
    await expect(close(session, await honest())).rejects.toThrow(code('SESSION_NOT_OPEN'));
  });

  it('after its window, and is closed before its end', async () => {
    const twin = await builder.openSession(client);
    const { createdAt, expiresAt } = await show(twin);
    expect(Date.parse(expiresAt) - Date.parse(createdAt)).toBe(100_000);
    // What is left of it is for a machine that is slow: the very last moment is tried on the store.
    server.advance(90);
    expect(await close(twin, await builder.closing(client, twin, image, statement))).toMatchObject({
      state: 'closed',
    });
    server.advance(10);
    const body = { ...(await honest()) };
    await expect(close(session, body)).rejects.toThrow(code('SESSION_EXPIRED'));
    expect(await show(session)).toMatchObject({ state: 'expired', reason: { code: 'SESSION_EXPIRED' } });
  });

  it('on two images by two closings at once: on one of them', async () => {
    const first = await honest();
    const second = await builder.closing(client, session, other, statement);
    const outcomes = await Promise.allSettled([close(session, first), close(session, second)]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refused = outcomes.find((outcome) => outcome.status === 'rejected');
    expect(refused?.reason).toMatchObject({ code: 'SESSION_SUBJECT_SET' });
    const record = await show(session);
    expect(record).toMatchObject({ state: 'closed', evidence: { length: 2 } });
    expect((await events(session)).filter(({ event }) => event === 'closed')).toHaveLength(1);
  });

  it('with the whole closing evidence of another build host', async () => {
    const stranger = await admitted(server, two, 'be-2');
    await stranger.connect(server);
    const body = await honest();
    const { nonce } = body.evidence;
    const theirs = await stranger.evidence({
      purpose: 'session-close',
      nonce,
      session,
      subject: image,
      statement,
      signingKey: digestOf(one.signingPublic),
    });
    await failsFor({ ...body, evidence: theirs }, 'EVIDENCE_OTHER_ATTESTER');
  });

  it('under another policy than it was begun under, not even when the old one is back in force', async () => {
    const { policy: before } = await server.admin().call(policyShow, { params: { kind: 'builder' } });
    const set = (id: string) =>
      server.admin().call(policyPut, {
        params: { kind: 'builder' },
        body: id === '' ? before : { ...(before as object), id },
      });
    // A nonce, and then another policy: the evidence is not even looked at.
    const body = await honest();
    await set('laxer');
    await failsFor(body, 'SESSION_POLICY_CHANGED');
    // Back again: what was begun under the other one is not closed under this one.
    session = await builder.openSession(client);
    expect((await show(session)).policy).toMatchObject({ id: 'laxer' });
    await set('');
    await failsFor(await honest(), 'SESSION_POLICY_CHANGED');
    // One that is put in force anew is no other one; nor is one that came and went unseen.
    session = await builder.openSession(client);
    await set('');
    expect(await close(session, await honest())).toMatchObject({ state: 'closed' });
    const { session: opening, nonce } = await client.call(sessionCreate, {
      body: { purpose: 'image-build' },
    });
    await set('in-between');
    const evidence = await builder.evidence({ purpose: 'session-open', nonce, session: opening });
    const opened = client.call(sessionOpen, { params: { session: opening }, body: { evidence } });
    await expect(opened).rejects.toThrow(code('SESSION_POLICY_CHANGED'));
    expect(await show(opening)).toMatchObject({
      state: 'failed',
      reason: { code: 'SESSION_POLICY_CHANGED' },
    });
  });

  it('by another build host, which does not spoil it either', async () => {
    const stranger = await (await admitted(server, two, 'be-2')).connect(server);
    const body = await honest();
    await expect(close(session, body, stranger)).rejects.toThrow(code('SESSION_OTHER_ATTESTER'));
    await expect(stranger.call(sessionAbandon, { params: { session } })).rejects.toThrow(
      code('SESSION_OTHER_ATTESTER'),
    );
    await expect(stranger.call(sessionShow, { params: { session } })).rejects.toThrow(code('NOT_FOUND'));
    expect(await close(session, body)).toMatchObject({ state: 'closed' });
  });

  it('with evidence of another build host', async () => {
    const stranger = await admitted(server, two, 'be-2');
    await stranger.connect(server);
    const body = await honest();
    const theirs = await stranger.evidence({ purpose: 'session-close', nonce: body.evidence.nonce, session });
    await failsFor(
      { ...body, evidence: { ...body.evidence, quote: theirs.quote } },
      'SESSION_EVIDENCE_REFUSED',
    );
  });

  it('with a late nonce, but it stays open for another', async () => {
    const body = await honest();
    server.advance(60);
    await expect(close(session, body)).rejects.toThrow(code('NONCE_EXPIRED'));
    expect(await close(session, await honest())).toMatchObject({ state: 'closed' });
  });

  it('before it was opened', async () => {
    const { session: early } = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    const body = await builder.closing(client, early, image, statement);
    await expect(close(early, body)).rejects.toThrow(code('SESSION_NOT_OPEN'));
  });

  it('a second time on another image', async () => {
    const closed = await close(session, await honest());
    const again = await builder.closing(client, session, other, statement);
    await expect(close(session, again)).rejects.toThrow(code('SESSION_SUBJECT_SET'));
    expect(await show(session)).toEqual(closed);
  });

  it('when the TPM got a new AK in between', async () => {
    await one.newAk();
    // Another AK: another admission, of which the old enrolment is none.
    builder = await admitted(server, one, 'be-1');
    client = await builder.connect(server);
    await failsFor(await honest(), 'SESSION_AK_CHANGED');
  });

  it('with a signing key that the AK does not vouch for', async () => {
    const body = await honest();
    // The signing key of another TPM, with this one's certification.
    const foreign = Buffer.from(two.signingPublic).toString('base64');
    await failsFor(
      { ...body, signingKey: { ...body.signingKey, public: foreign } },
      'SIGNING_KEY_NOT_CERTIFIED',
    );
  });

  it('with a certification of another AK', async () => {
    const body = await honest();
    const theirs = await two.certifySigningKey(new Uint8Array(32));
    const certification = {
      attest: Buffer.from(theirs.attest).toString('base64'),
      signature: Buffer.from(theirs.signature).toString('base64'),
    };
    await failsFor({ ...body, signingKey: { ...body.signingKey, certification } }, 'TPM_SIGNATURE_INVALID');
  });

  it('with a certification made for an earlier session', async () => {
    const old = (await honest()).signingKey;
    await close(session, await honest());
    session = await builder.openSession(client);
    await failsFor({ ...(await honest()), signingKey: old }, 'SIGNING_KEY_NOT_CERTIFIED');
  });

  it('with a quote in place of the certification, or the AK in place of the signing key', async () => {
    const body = await honest();
    const { public: signing } = body.signingKey;
    await failsFor(
      { ...body, signingKey: { public: signing, certification: body.evidence.quote } },
      'SIGNING_KEY_NOT_CERTIFIED',
    );
    session = await builder.openSession(client);
    const ak = Buffer.from(one.akPublic).toString('base64');
    const again = await honest();
    await failsFor({ ...again, signingKey: { ...again.signingKey, public: ak } }, 'TPM_KEY_RESTRICTION');
  });
});

describe('where the operator governs the signing keys', () => {
  it('a session closes only with a key that is under its approvals', async () => {
    const operator = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
    const pem = join(site.dir, 'operator.pem');
    writeFileSync(pem, operator.export({ format: 'pem', type: 'spki' }));
    const governed = await testServer({
      ekRoots: site.maker.roots,
      ...policies(site.dir),
      signingAuthority: pem,
    });
    try {
      const host = await admitted(governed, two, 'be-9');
      const open = async () => {
        const by = await host.connect(governed);
        return { by, session: await host.openSession(by) };
      };
      const first = await open();
      const body = await host.closing(first.by, first.session, image, statement);
      await expect(close(first.session, body, first.by)).rejects.toThrow(code('TPM_KEY_AUTH'));
      // The honest twin: the same host, its signing key under the operator's policy.
      const spki = new Uint8Array(operator.export({ format: 'der', type: 'spki' }));
      two.signingPolicy = signingPolicy(signingAuthority(spki));
      await two.reboot();
      const second = await open();
      const closing = await host.closing(second.by, second.session, image, statement);
      const closed = await close(second.session, closing, second.by);
      expect(closed).toMatchObject({ state: 'closed' });
      const { issuer, jwks } = await second.by.call(trustShow, {});
      const { session: told } = await verifyEar(closed.ear ?? '', { issuer, jwks }, governed.now());
      expect(told?.signingPolicy).toBe(Buffer.from(two.signingPolicy).toString('hex'));
    } finally {
      two.signingPolicy = undefined;
      await two.reboot();
      await governed.stop();
    }
  });
});
