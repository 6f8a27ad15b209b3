import { appraiseQuote } from '@kallio/appraisal';
import { type Digest, digestOf, fromBase64, sha256, utf8 } from '@kallio/codec';
import { decodeImaEntry, partsOf, qualifyingData, readImaLog } from '@kallio/evidence';
import {
  type AttesterMeasurements,
  attesterMeasurements,
  type Client,
  evidenceSubmit,
  resultMeasurements,
  tokenCreate,
} from '@kallio/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const image: Digest = digestOf(utf8('an image'));

const site = testSite(['one']);
let server: TestServer;
let tpm: TestTpm;
let device: TestAttester;
let client: Client;
beforeEach(async () => {
  ({ server } = site);
  tpm = site.tpm('one');
  device = await admitted(server, tpm, 'device-1', 'device');
  client = await device.connect(server);
});

async function show(): Promise<string> {
  const reply = await client.call(evidenceSubmit, { body: await device.attest(client) });
  return reply.result;
}

const ask = () => server.admin().call(attesterMeasurements, { params: { attester: 'device-1' } });

/** The files of the list, in order. */
function measured({ ima = '' }: AttesterMeasurements): string[] {
  return [...readImaLog(fromBase64(ima))].map((entry) => decodeImaEntry(entry).name);
}

/** Judged by whoever asked, without a policy: what is wrong with quote or logs. */
function wrong({ evidence, akPublic, ima, instanceLog }: AttesterMeasurements): string[] {
  const { purpose, attester, nonce, quote, pcrs, inventory } = evidence;
  const { platform } = appraiseQuote({
    quote,
    pcrs,
    akPublic: fromBase64(akPublic),
    qualifyingData: qualifyingData({ purpose, attester, nonce, parts: partsOf(evidence) }),
    ...(ima === undefined ? {} : { ima: { from: 0, entries: ima } }),
    instanceLog,
    inventory,
  });
  return platform.refusals.map((refusal) => refusal.code).filter((one) => one !== 'POLICY_NONE');
}

describe('the measurements of an attester', () => {
  it('are its last evidence, with logs that are whole though each time only the new entries came', async () => {
    await device.measure('/bin/first', sha256(utf8('first')));
    await show();
    await device.measure('/bin/second', sha256(utf8('second')));
    await device.happen({ verb: 'create', instance: 'i1', container: 'c1', image });
    await show();
    await device.measure('/bin/third', sha256(utf8('third')));
    await device.happen({ verb: 'delete', instance: 'i1', container: 'c1', image });
    const last = await show();
    const measurements = await ask();
    expect(measurements.result).toBe(last);
    expect(measurements.evidence.ima?.from).toBe(2);
    expect(measured(measurements)).toEqual(['/bin/first', '/bin/second', '/bin/third']);
    expect(measurements.instanceLog.entries.map(({ event }) => event.verb)).toEqual(['create', 'delete']);
    // The boot aggregate is not there: this machine's list is made up. All else leads to the quote.
    expect(wrong(measurements)).toEqual(['IMA_BOOT_AGGREGATE']);
    const [entry] = measurements.instanceLog.entries;
    expect(
      wrong({ ...measurements, instanceLog: { from: 0, entries: entry === undefined ? [] : [entry] } }),
    ).toContain('INSTANCE_LOG_MISMATCH');
  });

  it('can be asked for by result, and are of that moment', async () => {
    await device.measure('/bin/first', sha256(utf8('first')));
    const first = await show();
    await device.measure('/bin/second', sha256(utf8('second')));
    await show();
    const params = { digest: first };
    expect(measured(await server.admin().call(resultMeasurements, { params }))).toEqual(['/bin/first']);
    await expect(server.admin().call(resultMeasurements, { params: { digest: image } })).rejects.toEqual(
      code('NOT_FOUND'),
    );
  });

  it('hold nothing of an earlier boot', async () => {
    await device.measure('/bin/first', sha256(utf8('first')));
    await show();
    await device.reboot();
    await device.measure('/bin/other', sha256(utf8('other')));
    const nonce = await device.nonce(client, 'attest');
    // The server speaks of the boot that it knows; in another one logs begin anew.
    device.imaFrom = 0;
    await client.call(evidenceSubmit, { body: await device.evidence({ purpose: 'attest', nonce }) });
    expect(measured(await ask())).toEqual(['/bin/other']);
  });

  it('hold nothing of evidence that was not authentic', async () => {
    await device.measure('/bin/first', sha256(utf8('first')));
    const good = await show();
    await device.measure('/bin/second', sha256(utf8('second')));
    const evidence = await device.attest(client);
    const forged = { ...evidence, inventory: { ...evidence.inventory, scope: '/elsewhere' } };
    const reply = await client.call(evidenceSubmit, { body: forged });
    expect(reply.platform.reasons).toMatchObject([{ code: 'QUOTE_BINDING' }]);
    expect(await ask()).toMatchObject({ result: good });
    await expect(
      server.admin().call(resultMeasurements, { params: { digest: reply.result } }),
    ).rejects.toEqual(code('EVIDENCE_NONE'));
  });

  it('are for operators, and not there before anything was shown', async () => {
    await expect(ask()).rejects.toEqual(code('EVIDENCE_NONE'));
    await show();
    expect(await ask()).toMatchObject({ attester: 'device-1', state: 'VERIFIED' });
    const body = { name: 'eye', role: 'viewer' as const, ttlSeconds: 3600 };
    const { token } = await server.admin().call(tokenCreate, { body });
    await expect(
      server.client({ token }).call(attesterMeasurements, { params: { attester: 'device-1' } }),
    ).rejects.toEqual(code('FORBIDDEN'));
    await expect(client.call(attesterMeasurements, { params: { attester: 'device-1' } })).rejects.toEqual(
      code('FORBIDDEN'),
    );
  });
});
