import { bareTpmPolicy, referenceSetOf } from '@kallio/appraisal';
import { canonicalBytes, digestOf, fromBase64, fromUtf8, parseJson, sha256, utf8 } from '@kallio/codec';
import {
  fillPath,
  logEntry,
  policyPut,
  policyShow,
  REFERENCE_SET_CONTENT,
  REFERENCE_SET_TYPE,
  referenceSetShow,
  tokenCreate,
} from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestServer, testServer } from './fixture-server.ts';

const SET = referenceSetOf('file', 32, [sha256(utf8('one file'))]).toBytes();
const DIGEST = digestOf(SET);
const BARE = bareTpmPolicy('devices-1', 'device');
const WITH_SET = {
  ...BARE,
  id: 'devices-2',
  reference: {
    ...BARE.reference,
    ima: { classes: [{ name: 'host', sets: [{ name: 'debian', digest: DIGEST, bytes: SET.length }] }] },
  },
};
const params = { kind: 'device' } as const;

let server: TestServer;
beforeAll(async () => {
  server = await testServer();
});
afterAll(() => server.stop());

const put = (body: unknown) => server.admin().call(policyPut, { params, body });
const upload = (content: Uint8Array, digest: string = DIGEST) =>
  server.admin().raw('PUT', fillPath(REFERENCE_SET_CONTENT, { digest }), content, REFERENCE_SET_TYPE);

describe('an appraisal policy that is put in force', () => {
  it('is in force from then on, stands in the log, and is there after a start', async () => {
    await expect(server.admin().call(policyShow, { params })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const first = await put(BARE);
    expect(first).toMatchObject({ kind: 'device', id: 'devices-1', digest: digestOf(canonicalBytes(BARE)) });
    const entry = await server.admin().call(logEntry, { params: { index: first.logIndex } });
    expect(parseJson(fromUtf8(fromBase64(entry.body)))).toMatchObject({
      kind: 'kallio-policy',
      spec: { kind: 'device', id: 'devices-1', policy: first.digest, previous: null },
    });
    await server.restart();
    expect(await server.admin().call(policyShow, { params })).toMatchObject({ policy: BARE });
  });

  it('stands in the log again when it comes back', async () => {
    const first = await put(BARE);
    server.advance(1);
    const other = await put({ ...BARE, id: 'devices-loose', tiers: ['C'] });
    server.advance(1);
    const back = await put(BARE);
    expect(other.previous).toBe(first.digest);
    expect(back.previous).toBe(other.digest);
    expect(back.logIndex).toBeGreaterThan(other.logIndex);
  });

  it('needs the reference sets that it names', async () => {
    await put(BARE);
    await expect(put(WITH_SET)).rejects.toMatchObject({ code: 'POLICY_SET_MISSING' });
    expect(await server.admin().call(policyShow, { params })).toMatchObject({ id: 'devices-1' });
    await upload(SET);
    expect(await server.admin().call(referenceSetShow, { params: { digest: DIGEST } })).toMatchObject({
      known: true,
    });
    expect(await put(WITH_SET)).toMatchObject({ id: 'devices-2' });
    await server.restart();
    expect(await server.admin().call(policyShow, { params })).toMatchObject({ id: 'devices-2' });
  });

  it('that names a set by another size is refused before it is kept: the server starts again', async () => {
    await upload(SET);
    await put(BARE);
    const sets = [{ name: 'debian', digest: DIGEST, bytes: SET.length + 32 }];
    const wrong = {
      ...WITH_SET,
      reference: { ...BARE.reference, ima: { classes: [{ name: 'host', sets }] } },
    };
    await expect(put(wrong)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await server.restart();
    expect(await server.admin().call(policyShow, { params })).toMatchObject({ id: 'devices-1' });
    expect(await put(WITH_SET)).toMatchObject({ id: 'devices-2' });
  });

  it('that is wrong is refused with its place, and the old one stays', async () => {
    await put(BARE);
    const wrong = { ...BARE, id: 'devices-3', tiers: ['D'] };
    await expect(put(wrong)).rejects.toMatchObject({ pointer: expect.stringContaining('/tiers') });
    expect(await server.admin().call(policyShow, { params })).toMatchObject({ id: 'devices-1' });
  });

  it('is for admins to put', async () => {
    const { token } = await server
      .admin()
      .call(tokenCreate, { body: { name: 'operator', role: 'operator', ttlSeconds: 60 } });
    const operator = server.client({ token });
    await expect(operator.call(policyPut, { params, body: BARE })).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
    await expect(
      operator.raw('PUT', fillPath(REFERENCE_SET_CONTENT, { digest: DIGEST }), SET, REFERENCE_SET_TYPE),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await operator.call(policyShow, { params })).toMatchObject({ kind: 'device' });
  });
});

describe('a reference set', () => {
  it('is kept under its own digest only', async () => {
    const other = SET.with(-1, (SET.at(-1) ?? 0) ^ 1);
    await expect(upload(other)).rejects.toMatchObject({ code: 'REFERENCE_SET_MISMATCH' });
    const longer = new Uint8Array([...SET, 0]);
    await expect(upload(longer, digestOf(longer))).rejects.toMatchObject({
      code: expect.stringMatching(/^REFERENCE_SET_/),
    });
    await expect(upload(SET, 'nonsense')).rejects.toThrow();
    await upload(SET);
  });

  it('is not taken as anything else', async () => {
    const path = fillPath(REFERENCE_SET_CONTENT, { digest: DIGEST });
    await expect(server.admin().raw('PUT', path, { not: 'a set' })).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
    });
  });
});
