import { verifyEar } from '@kallio/appraisal';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import {
  ATTESTER_STREAM,
  attesterDecide,
  attesterPush,
  attesterShow,
  type Client,
  certificateCreate,
  events,
  evidenceSubmit,
  imageShow,
  nonceCreate,
  resultShow,
  statusShow,
  trustShow,
} from '@kallio/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import { enrolled, requestOf } from './fixture-enrol.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const image: Digest = digestOf(utf8('an image'));

// The TLS layer goes by the machine's clock, so the times here stay within the certificates' leeway of it.
const site = testSite(['one', 'two'], {
  settings: { attestation: { staleSeconds: 120, certificateSeconds: 90 } },
});
let server: TestServer;
let one: TestTpm;
let two: TestTpm;
let device: TestAttester;
beforeEach(async () => {
  ({ server } = site);
  [one, two] = [site.tpm('one'), site.tpm('two')];
  device = await admitted(server, one, 'device-1', 'device');
});

const shown = () => server.admin().call(attesterShow, { params: { attester: 'device-1' } });

describe('evidence', () => {
  it('leads to a signed result that outlives the server’s memory, and to the attester’s state', async () => {
    const client = await device.connect(server);
    const reply = await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect(reply.platform).toMatchObject({ state: 'VERIFIED', tier: 'C' });
    const { issuer, jwks } = await client.call(trustShow, {});
    const stored = await server.admin().call(resultShow, { params: { digest: reply.result }, query: {} });
    const claims = await verifyEar(stored.ear, { issuer, jwks }, server.now());
    expect(JSON.stringify(claims)).toContain('device-1');
    await server.restart();
    expect(await shown()).toMatchObject({ state: 'VERIFIED', tier: 'C', result: reply.result });
    const again = await server.admin().call(resultShow, { params: { digest: reply.result }, query: {} });
    expect(again).toEqual(stored);
  });

  it('turns STALE by the server’s clock, and is never VERIFIED again by waiting', async () => {
    const client = await device.connect(server);
    await client.call(evidenceSubmit, { body: await device.attest(client) });
    server.advance(119);
    expect(await shown()).toMatchObject({ state: 'VERIFIED' });
    server.advance(2);
    expect(await shown()).toMatchObject({ state: 'STALE', reasons: [{ code: 'RESULT_STALE' }] });
    const again = await device.connect(server);
    await again.call(evidenceSubmit, { body: await device.attest(again) });
    expect(await shown()).toMatchObject({ state: 'VERIFIED' });
  });

  it('of a host that measured something unknown is VIOLATED', async () => {
    const client = await device.connect(server);
    await one.extend(4, new Uint8Array(32).fill(1));
    const reply = await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect(reply.platform).toMatchObject({ state: 'VIOLATED', reasons: [{ pointer: 'pcr:4' }] });
    expect(await shown()).toMatchObject({ state: 'VIOLATED' });
    await expect(device.connect(server)).rejects.toThrow(code('PLATFORM_REFUSED'));
  });

  it('goes on from what was judged: the instance log is sent once', async () => {
    const client = await device.connect(server);
    const event = { verb: 'create', instance: 'i-1', container: 'c1', image } as const;
    await device.happen(event);
    const first = await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect(first.acknowledged).toMatchObject({ instanceLog: 1 });
    expect(first.instances['i-1']).toMatchObject({ state: 'UNKNOWN' });
    await device.happen({ ...event, verb: 'delete' });
    const second = await device.attest(client);
    expect(second.instanceLog).toMatchObject({ from: 1, entries: [{ seq: 1 }] });
    expect((await client.call(evidenceSubmit, { body: second })).acknowledged).toMatchObject({
      instanceLog: 2,
    });
  });

  it('after a reboot begins its logs anew', async () => {
    const client = await device.connect(server);
    await device.happen({ verb: 'create', instance: 'i-1', container: 'c1', image });
    await client.call(evidenceSubmit, { body: await device.attest(client) });
    await device.reboot();
    const nonce = await client.call(nonceCreate, { body: { attester: 'device-1', purpose: 'attest' } });
    const evidence = await device.evidence({ purpose: 'attest', nonce: nonce.nonce });
    expect((await client.call(evidenceSubmit, { body: evidence })).platform.state).toBe('VERIFIED');
  });

  it('shows a container in no log as UNLOGGED', async () => {
    const client = await device.connect(server);
    device.inventory = { scope: 'machine', containers: [{ container: 'stray', processes: [] }], changed: [] };
    const reply = await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect(reply.instances.stray).toMatchObject({ state: 'UNLOGGED' });
    expect(reply.platform.state).not.toBe('VERIFIED');
  });
});

describe('evidence is refused', () => {
  let client: Client;
  beforeEach(async () => {
    client = await device.connect(server);
  });
  afterEach(async () => {
    // The honest twin of every case below.
    const reply = await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect(reply.platform.state).toBe('VERIFIED');
  });

  it('when it is replayed', async () => {
    const evidence = await device.attest(client);
    await client.call(evidenceSubmit, { body: evidence });
    await expect(client.call(evidenceSubmit, { body: evidence })).rejects.toThrow(code('NONCE_SPENT'));
    await server.restart();
    client = await device.connect(server);
    await expect(client.call(evidenceSubmit, { body: evidence })).rejects.toThrow(code('NONCE_SPENT'));
  });

  it('when it comes too late', async () => {
    const evidence = await device.attest(client);
    server.advance(60);
    await expect(client.call(evidenceSubmit, { body: evidence })).rejects.toThrow(code('NONCE_EXPIRED'));
  });

  it('when its nonce was given for another purpose, or to another attester', async () => {
    const nonce = await device.nonce(server.client(), 'transport-key');
    const evidence = await device.evidence({ purpose: 'attest', nonce });
    await expect(client.call(evidenceSubmit, { body: evidence })).rejects.toThrow(code('NONCE_UNKNOWN'));
    const other = await admitted(server, two, 'device-2', 'device');
    const theirs = await device.evidence({
      purpose: 'attest',
      nonce: await other.nonce(await other.connect(server), 'attest'),
    });
    await expect(client.call(evidenceSubmit, { body: theirs })).rejects.toThrow(code('NONCE_UNKNOWN'));
    await device.nonce(client, 'attest');
  });

  it('when it is shown over the connection of another attester', async () => {
    const other = await (await admitted(server, two, 'device-2', 'device')).connect(server);
    const evidence = await device.attest(client);
    await expect(other.call(evidenceSubmit, { body: evidence })).rejects.toThrow(
      code('EVIDENCE_OTHER_ATTESTER'),
    );
  });

  it('when it was gathered for a session', async () => {
    const nonce = await device.nonce(client, 'attest');
    const evidence = await device.evidence({ purpose: 'session-open', nonce });
    await expect(client.call(evidenceSubmit, { body: evidence })).rejects.toThrow(
      code('EVIDENCE_WRONG_PURPOSE'),
    );
  });
});

it('evidence whose quote is of another TPM makes nobody VERIFIED', async () => {
  const client = await device.connect(server);
  const nonce = await device.nonce(client, 'attest');
  const { quote } = await (await admitted(server, two, 'device-2', 'device')).evidence({
    purpose: 'attest',
    nonce,
  });
  const honest = await device.evidence({ purpose: 'attest', nonce });
  const reply = await client.call(evidenceSubmit, { body: { ...honest, quote } });
  expect(reply.platform).toMatchObject({ state: 'UNKNOWN', reasons: [{ code: 'QUOTE_SIGNATURE' }] });
  const again = await client.call(evidenceSubmit, { body: await device.attest(client) });
  expect(again.platform.state).toBe('VERIFIED');
});

describe('the nonce in an answer', () => {
  let client: Client;
  beforeEach(async () => {
    client = await device.connect(server);
  });
  const first = async () => (await client.call(evidenceSubmit, { body: await device.attest(client) })).next;
  const with_ = async (nonce: string) => device.evidence({ purpose: 'attest', nonce });

  it('is good for the next evidence, once, so that a cycle is one request', async () => {
    const { nonce, seconds } = await first();
    expect(seconds).toBe(180);
    const evidence = await with_(nonce);
    const reply = await client.call(evidenceSubmit, { body: evidence });
    expect(reply.platform.state).toBe('VERIFIED');
    expect(reply.next.nonce).not.toBe(nonce);
    await expect(client.call(evidenceSubmit, { body: evidence })).rejects.toThrow(code('NONCE_SPENT'));
  });

  it('ends with its time', async () => {
    const { nonce } = await first();
    server.advance(181);
    client = await device.connect(server);
    const late = await with_(nonce);
    await expect(client.call(evidenceSubmit, { body: late })).rejects.toThrow(code('NONCE_EXPIRED'));
  });

  it('is of no use to keep a quote for later: the TPM’s clock says when it was made', async () => {
    const { nonce } = await first();
    const held = await with_(nonce);
    server.advance(85);
    await expect(client.call(evidenceSubmit, { body: held })).rejects.toThrow(code('NONCE_EXPIRED'));
    // The same quote, shown when it was made, is good.
    const again = await first();
    const fresh = await with_(again.nonce);
    expect((await client.call(evidenceSubmit, { body: fresh })).platform.state).toBe('VERIFIED');
  });
});

it('evidence that goes on from where this server is not is no answer, and changes nothing', async () => {
  const client = await device.connect(server);
  await client.call(evidenceSubmit, { body: await device.attest(client) });
  const before = await shown();
  const nonce = await device.nonce(client, 'attest');
  // As after the server was restored from a backup: the attester believes that the server has an entry more.
  await device.happen({ verb: 'create', instance: 'i-1', container: 'c1', image });
  device.from = 1;
  const ahead = await device.evidence({ purpose: 'attest', nonce });
  await expect(client.call(evidenceSubmit, { body: ahead })).rejects.toThrow(code('EVIDENCE_POSITION'));
  expect(await shown()).toEqual(before);
  const honest = await client.call(evidenceSubmit, { body: await device.attest(client) });
  expect(honest.platform.state).toBe('VERIFIED');
  expect(honest.acknowledged).toMatchObject({ instanceLog: 1 });
});

describe('what is held of an attester', () => {
  const asked = async (attester: string, enrolment?: string) => {
    const body = {
      attester,
      purpose: 'transport-key' as const,
      ...(enrolment === undefined ? {} : { enrolment }),
    };
    return (await server.client().call(nonceCreate, { body })).from;
  };

  it('is told to itself, and to nobody who only knows its name', async () => {
    const client = await device.connect(server);
    const ran = { instance: 'i1', container: 'c1', image, config: digestOf(utf8('config')) };
    await device.happen({ verb: 'create', ...ran });
    await client.call(evidenceSubmit, { body: await device.attest(client) });
    // The honest twin: by its certificate, and without one by its enrolment.
    expect(await asked('device-1', device.enrolment)).toMatchObject({
      instanceLog: 1,
      boot: expect.any(Number),
    });
    const nothing = { ima: 0, instanceLog: 0 };
    expect(await asked('device-1')).toEqual(nothing);
    expect(await asked('no-such-name')).toEqual(nothing);
  });

  it('is told by no other enrolment: one that waits, another’s, one that never was', async () => {
    const waits = await enrolled(server.client(), two, requestOf(two, 'device-1'));
    expect(waits.status.state).toBe('held');
    for (const enrolment of [waits.challenge, 'A'.repeat(24)]) {
      await expect(asked('device-1', enrolment)).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));
    }
    await expect(asked('device-2', device.enrolment)).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));
    await asked('device-1', device.enrolment);
  });

  it('is told no more once the attester is put out', async () => {
    await asked('device-1', device.enrolment);
    const body = { decision: 'refuse', ek: (await shown()).ek } as const;
    await server.admin().call(attesterDecide, { params: { attester: 'device-1' }, body });
    await expect(asked('device-1', device.enrolment)).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));
  });
});

describe('a client certificate', () => {
  it('ends with its time, on a connection that stays open too', async () => {
    const client = await device.connect(server);
    await client.call(statusShow, {});
    server.advance(90);
    await expect(client.call(statusShow, {})).rejects.toThrow(code('UNAUTHENTICATED'));
    await (await device.connect(server)).call(statusShow, {});
  });

  it('is not given for a TLS key that the quote does not name', async () => {
    const keys = await import('node:crypto').then((c) =>
      c.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    );
    const spki = keys.publicKey.export({ format: 'der', type: 'spki' });
    const client = server.client();
    const nonce = await device.nonce(client, 'transport-key');
    // A relay: genuine evidence for one key, shown with another.
    const evidence = await device.evidence({
      purpose: 'transport-key',
      nonce,
      tlsKey: digestOf(utf8('the victim’s key')),
    });
    const body = { evidence, tlsKey: spki.toString('base64') };
    await expect(client.call(certificateCreate, { body })).rejects.toThrow(code('PLATFORM_REFUSED'));
    // And it left no trace: whoever may call that must not be able to bring the attester down.
    expect(await shown()).toMatchObject({ state: 'UNKNOWN', reasons: [] });
    await device.connect(server);
  });

  it.each([
    ['no key', Buffer.from('no key').toString('base64')],
    ['a P-384 key', 'p384'],
  ])('is not given for %s', async (_, given) => {
    const { generateKeyPairSync } = await import('node:crypto');
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({
      format: 'der',
      type: 'spki',
    });
    const tlsKey = given === 'p384' ? p384.toString('base64') : given;
    const client = server.client();
    const evidence = await device.evidence({
      purpose: 'transport-key',
      nonce: await device.nonce(client, 'transport-key'),
    });
    await expect(client.call(certificateCreate, { body: { evidence, tlsKey } })).rejects.toThrow(
      code('TLS_KEY_UNSUPPORTED'),
    );
  });

  it('ends at once when the operator puts the attester out', async () => {
    const client = await device.connect(server);
    await client.call(imageShow, { params: { digest: image } });
    const { ek } = await shown();
    await server.admin().call(attesterDecide, {
      params: { attester: 'device-1' },
      body: { decision: 'refuse', ek },
    });
    await expect(client.call(imageShow, { params: { digest: image } })).rejects.toThrow(
      code('UNAUTHENTICATED'),
    );
    expect(await shown()).toMatchObject({ admission: 'refused', state: 'UNKNOWN' });
  });

  it('of another authority is no credential', async () => {
    const { createAuthority, issueAttesterCertificate } = await import('@kallio/pki');
    const { generateKeyPairSync } = await import('node:crypto');
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const forged = await issueAttesterCertificate(await createAuthority('forger', new Date(), 1), {
      spki: new Uint8Array(keys.publicKey.export({ format: 'der', type: 'spki' })),
      trustDomain: 'edge.test',
      attester: 'device-1',
      now: new Date(),
      seconds: 600,
    });
    const key = keys.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    const client = server.client({ identity: { certificate: forged, key } });
    await expect(client.call(statusShow, {})).rejects.toThrow(code('UNAUTHENTICATED'));
  });

  it('and a bearer token together are refused', async () => {
    const client = await device.connect(server);
    await client.call(statusShow, {});
    const { identity } = device;
    const both = server.client({ ...(identity === undefined ? {} : { identity }), token: server.adminToken });
    await expect(both.call(statusShow, {})).rejects.toThrow(code('UNAUTHENTICATED'));
  });
});

it('the stream carries the request for evidence, to its attester only', async () => {
  const client = await device.connect(server);
  const push = () => server.admin().call(attesterPush, { params: { attester: 'device-1' } });
  expect(await push()).toEqual({ asked: false });
  const ending = new AbortController();
  const received = (async () => {
    for await (const event of events(client, ATTESTER_STREAM, ending.signal)) return event;
    return undefined;
  })();
  while (!(await push()).asked) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(await received).toMatchObject({ event: 'attest', data: {} });
  ending.abort();
  await expect(server.admin().stream(ATTESTER_STREAM, new AbortController().signal)).rejects.toThrow(
    code('FORBIDDEN'),
  );
});
