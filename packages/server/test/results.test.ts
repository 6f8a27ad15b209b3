import { createPublicKey, verify } from 'node:crypto';
import { join } from 'node:path';
import { continuityFromJson, continuityRoot } from '@kallio/appraisal';
import { canonicalDigest, canonicalize, parseDigest, sha256, utf8 } from '@kallio/codec';
import { evidenceSubmit, resultMaterial, resultShow, trustShow } from '@kallio/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { thinOut, tidy } from '../src/housekeeping.ts';
import { readConfig } from '../src/setup/config.ts';
import { openStore } from '../src/store/store.ts';
import { admitted, type TestAttester } from './fixture-attester.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const site = testSite(['one']);
let server: TestServer;
let tpm: TestTpm;
let device: TestAttester;
beforeEach(async () => {
  ({ server } = site);
  tpm = site.tpm('one');
  device = await admitted(server, tpm, 'device-1', 'device');
});

async function attest() {
  const client = await device.connect(server);
  const { result } = await client.call(evidenceSubmit, { body: await device.attest(client) });
  return { client, params: { digest: parseDigest(result) } };
}

const rootOf = (kept: unknown) => continuityRoot(continuityFromJson(canonicalize(kept))).digest;
const claimsOf = (ear: string) => JSON.parse(Buffer.from(ear.split('.')[1] ?? '', 'base64url').toString());

describe('a result', () => {
  it('has the IETF’s names for its claims, and the older ones on request; both are signed', async () => {
    const { client, params } = await attest();
    const { ear } = await client.call(resultShow, { params, query: {} });
    const { ear: dotted } = await client.call(resultShow, { params, query: { claims: 'dotted' } });
    const [now, older] = [claimsOf(ear), claimsOf(dotted)];
    expect(now).toMatchObject({
      eat_profile: 'tag:ietf.org,2026:rats/ear#04',
      submods: { platform: { ear_status: 'affirming', ear_appraisal_policy_ids: ['device-test'] } },
    });
    expect(older).toMatchObject({
      eat_profile: 'tag:github.com,2023:veraison/ear',
      'ear.verifier-id': now.ear_verifier_id,
      iat: now.iat,
      exp: now.exp,
      submods: {
        platform: {
          'ear.status': 'affirming',
          'ear.trustworthiness-vector': now.submods.platform.ear_trustworthiness_vector,
          'ear.appraisal-policy-id': 'device-test',
        },
      },
    });
    expect(JSON.stringify(older)).not.toContain('ear_');
    const { jwks } = await client.call(trustShow, {});
    const key = createPublicKey({ format: 'jwk', key: { ...jwks.keys[0] } });
    for (const token of [ear, dotted]) {
      const [header, payload, signature = ''] = token.split('.');
      const signed = Buffer.from(`${header}.${payload}`);
      const bytes = Buffer.from(signature, 'base64url');
      expect(verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, bytes)).toBe(true);
    }
  });

  it('comes with what it was made from, to viewers and not to attesters', async () => {
    const { client, params } = await attest();
    await expect(client.call(resultMaterial, { params })).rejects.toThrow(code('FORBIDDEN'));
    const material = await server.admin().call(resultMaterial, { params });
    const { basis, evidence } = material.record;
    expect(canonicalDigest(material.evidence)).toBe(evidence);
    expect(canonicalDigest(material.policy)).toBe(basis?.policy);
    expect(rootOf(material.previous)).toBe(basis?.previous);
  });

  it('keeps what it rests on for as long as it is kept, and no longer', async () => {
    const first = await attest();
    const last = await attest();
    server.advance(31 * 86_400);
    await server.restart();
    const store = openStore(join(server.dataDir, 'store.sqlite'));
    tidy(store, readConfig(join(server.dataDir, 'config.json')), server.now());
    store.close();
    await expect(server.admin().call(resultMaterial, first)).rejects.toThrow(code('NOT_FOUND'));
    const kept = await server.admin().call(resultMaterial, last);
    expect(canonicalDigest(kept.evidence)).toBe(kept.record.evidence);
    expect(rootOf(kept.previous)).toBe(kept.record.basis?.previous);
  });

  it('that says nothing new is thinned out after a day, to one an hour; what changed something stays', async () => {
    // All of these in one hour.
    if (3600 - ((server.now().getTime() / 1000) % 3600) < 60) server.advance(-120);
    const { client, params } = await attest();
    const again = async () =>
      (await client.call(evidenceSubmit, { body: await device.attest(client) })).result;
    const changed = [params.digest];
    device.unchanged = true;
    const same = [await again(), await again(), await again()];
    await tpm.extend(8, sha256(utf8('something that the policy does not know')));
    changed.push(parseDigest(await again()), parseDigest(await again()));

    const store = openStore(join(server.dataDir, 'store.sqlite'));
    const config = readConfig(join(server.dataDir, 'config.json'));
    const isKept = async (digest: string) => {
      const material = { params: { digest: parseDigest(digest) } };
      const found = await server
        .admin()
        .call(resultMaterial, material)
        .catch((error) => error.code);
      return found.record === undefined ? found : canonicalDigest(found.evidence) === found.record.evidence;
    };
    const all = async () => Promise.all([...same, ...changed].map(isKept));
    thinOut(store, config, server.now());
    expect(await all()).toEqual([true, true, true, true, true, true]);
    server.advance(26 * 3600);
    thinOut(store, config, server.now());
    expect(await all()).toEqual(['NOT_FOUND', 'NOT_FOUND', true, true, true, true]);
    thinOut(store, config, server.now());
    expect(await all()).toEqual(['NOT_FOUND', 'NOT_FOUND', true, true, true, true]);
    store.close();
  });
});
