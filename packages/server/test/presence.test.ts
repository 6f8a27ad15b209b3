import { verifyEar } from '@kallio/appraisal';
import { parseDigest } from '@kallio/codec';
import {
  ATTESTER_STREAM,
  attesterActivity,
  attesterShow,
  events,
  evidenceSubmit,
  resultShow,
  trustShow,
} from '@kallio/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { rotateResultKeys } from '../src/index.ts';
import { admitted, type TestAttester } from './fixture-attester.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';

const site = testSite(['one'], { settings: { attestation: { staleSeconds: 300 } } });
let server: TestServer;
let device: TestAttester;
beforeEach(async () => {
  ({ server } = site);
  device = await admitted(server, site.tpm('one'), 'device-1', 'device');
});

async function reach() {
  const { reachability, state } = await server
    .admin()
    .call(attesterShow, { params: { attester: 'device-1' } });
  return { reachability, state };
}

describe('how an attester can be reached stands beside its state', () => {
  it('is by its stream or its last evidence, and VERIFIED meanwhile until STALE', async () => {
    expect(await reach()).toEqual({ reachability: 'unreachable', state: 'UNKNOWN' });
    const client = await device.connect(server);
    await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect(await reach()).toEqual({ reachability: 'reachable', state: 'VERIFIED' });
    server.advance(91);
    expect(await reach()).toEqual({ reachability: 'unreachable', state: 'VERIFIED' });
    const ending = new AbortController();
    const listening = (async () => {
      for await (const _ of events(client, ATTESTER_STREAM, ending.signal)) break;
    })().catch(() => undefined);
    while ((await reach()).reachability !== 'reachable') await new Promise((r) => setTimeout(r, 20));
    ending.abort();
    await listening;
    server.advance(210);
    expect(await reach()).toEqual({ reachability: 'unreachable', state: 'STALE' });
  });

  it.each([
    ['quoting', 'slow', 61],
    ['rebooting', 'rebooting', 901],
  ] as const)('%s is told apart, for a time, until evidence comes', async (doing, shown, seconds) => {
    const client = await device.connect(server);
    await client.call(attesterActivity, { body: { doing } });
    expect(await reach()).toEqual({ reachability: shown, state: 'VERIFIED' });
    await client.call(evidenceSubmit, { body: await device.attest(client) });
    expect((await reach()).reachability).toBe('reachable');
    await client.call(attesterActivity, { body: { doing } });
    server.advance(seconds);
    expect((await reach()).reachability).not.toBe(shown);
  });

  it('an agent that ended is unreachable at once, and its state is what it was', async () => {
    const client = await device.connect(server);
    await client.call(attesterActivity, { body: { doing: 'ending' } });
    expect(await reach()).toEqual({ reachability: 'unreachable', state: 'VERIFIED' });
  });
});

it('another key signs results, and those of the key before still verify', async () => {
  let client = await device.connect(server);
  const show = async () => {
    const { result } = await client.call(evidenceSubmit, { body: await device.attest(client) });
    const params = { digest: parseDigest(result) };
    return (await client.call(resultShow, { params, query: {} })).ear;
  };
  const kid = (ear: string) => JSON.parse(Buffer.from(ear.split('.')[0] ?? '', 'base64url').toString()).kid;
  const before = await show();
  const added = rotateResultKeys(server.dataDir, new Date());
  await server.restart();
  client = await device.connect(server);
  const after = await show();
  expect(kid(after)).toBe(added);
  expect(kid(before)).not.toBe(added);
  const { issuer, jwks } = await server.client().call(trustShow, {});
  for (const ear of [before, after]) {
    expect((await verifyEar(ear, { issuer, jwks }, server.now())).attester).toBe('device-1');
  }
  const published = await server.client().raw('GET', '/.well-known/jwks.json');
  expect(JSON.parse(new TextDecoder().decode(published))).toEqual(jwks);
});
