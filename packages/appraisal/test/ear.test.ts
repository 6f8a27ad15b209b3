import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import {
  canonicalBytes,
  fromBase64Url,
  fromUtf8,
  parseJson,
  sha256,
  toBase64Url,
  toHex,
  utf8,
} from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import {
  type EarInput,
  earPayload,
  issueEar,
  issueEarAside,
  type SessionClaims,
  verifyEar,
} from '../src/index.ts';
import { judge, NOW, POLICY } from './support/appraise.ts';
import { IMAGE, question, SoftwareAttester } from './support/attester.ts';

const ISSUER = 'https://kallio.example';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const trust = { issuer: ISSUER, jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'key-1' }] } };

const digest = (name: string) => `sha256:${toHex(sha256(utf8(name)))}` as const;

const SESSION: SessionClaims = {
  session: 'session-1234',
  subject: IMAGE,
  statement: digest('statement'),
  signingKey: digest('key'),
  evidence: [digest('opening'), digest('closing')],
  builder: 'device-1',
  tier: 'C',
  boot: 7,
};

function input(change: Partial<EarInput> = {}, attester = new SoftwareAttester()): EarInput {
  const asked = question();
  return {
    issuer: ISSUER,
    attester: 'device-1',
    appraisal: judge(attester, attester.show(asked), asked),
    policyId: POLICY.id,
    issuedAt: NOW,
    ttlSeconds: 600,
    key: privateKey,
    keyId: 'key-1',
    ...change,
  };
}

const seconds = (count: number) => new Date(NOW.getTime() + count * 1000);

const signAside = async (key: KeyObject, bytes: Uint8Array) => new Uint8Array(sign('sha256', bytes, key));

describe('an EAR', () => {
  it('has the IETF claim names and the media type of an EAT', async () => {
    const ear = issueEar(input());
    const [header = '', payload = ''] = ear.split('.');
    expect(parseJson(fromBase64Url(header))).toEqual({
      alg: 'ES256',
      typ: 'application/eat+jwt',
      kid: 'key-1',
    });
    expect(parseJson(fromUtf8(fromBase64Url(payload)))).toMatchObject({
      iss: ISSUER,
      sub: 'device-1',
      eat_profile: 'tag:ietf.org,2026:rats/ear#04',
      ear_verifier_id: { developer: 'https://kallio.dev' },
      iat: NOW.getTime() / 1000,
      exp: NOW.getTime() / 1000 + 600,
      submods: {
        platform: {
          ear_status: 'affirming',
          ear_trustworthiness_vector: { 'instance-identity': 2, configuration: 2 },
          ear_appraisal_policy_ids: ['bare-1'],
        },
      },
    });
  });

  it('says what the appraisal came to, and claims nothing of hardware or programs for tier C', async () => {
    const facts = input();
    const claims = await verifyEar(issueEar(facts), trust, NOW);
    expect(await verifyEar(await issueEarAside(facts, signAside), trust, NOW)).toEqual(claims);
    expect(claims).toMatchObject({
      issuer: ISSUER,
      attester: 'device-1',
      policyIds: ['bare-1'],
      platform: { state: 'VERIFIED', status: 'affirming', tier: 'C', boot: 7 },
    });
    expect(claims.platform.vector).toEqual({ 'instance-identity': 2, configuration: 2 });
    expect(claims.platform.limits.join(' ')).toContain('Tier C');
    expect(claims.session).toBeUndefined();
  });

  it('has a sub-module for each instance, whose status is never better than its worst claim', async () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1', instance: 'shop-1' });
    const asked = question();
    const inventory = {
      scope: 'machine',
      containers: [{ container: 'evil', processes: [] }],
      changed: [{ container: 'c1', path: '/bin/sh' }],
    };
    const message = attester.show(asked, { parts: { inventory } });
    const ear = issueEar(input({ appraisal: judge(attester, message, asked) }));
    const claims = await verifyEar(ear, trust, NOW);
    expect(claims.platform).toMatchObject({ state: 'DEGRADED', status: 'warning' });
    expect(claims.instances.get('shop-1')).toMatchObject({
      state: 'VIOLATED',
      status: 'contraindicated',
      vector: { 'file-system': 96, executables: 2 },
      image: IMAGE,
    });
    expect(claims.instances.get('evil')).toMatchObject({ state: 'UNLOGGED', status: 'warning' });
  });

  it('affirms nothing of evidence that is not authentic', async () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const appraisal = judge(attester, attester.show(asked), question());
    const claims = await verifyEar(issueEar(input({ appraisal })), trust, NOW);
    expect(claims.platform).toMatchObject({
      state: 'UNKNOWN',
      status: 'contraindicated',
      vector: { 'instance-identity': 99 },
      reasons: [{ code: 'EVIDENCE_NONCE' }],
    });
    expect(claims.platform.tier).toBeUndefined();
  });

  it('affirms nothing where a reference value is missing', async () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const policy = { ...POLICY, reference: { pcrs: {} } };
    const appraisal = judge(attester, attester.show(asked), asked, { policy });
    const claims = await verifyEar(issueEar(input({ appraisal })), trust, NOW);
    expect(claims.platform).toMatchObject({ state: 'UNKNOWN', status: 'none', vector: { configuration: 1 } });
  });

  it('carries the claims of a closed session, of a VERIFIED platform only', async () => {
    const claims = await verifyEar(issueEar(input({ session: SESSION })), trust, NOW);
    expect(claims.session).toEqual(SESSION);
    const attester = new SoftwareAttester();
    const asked = question();
    const appraisal = judge(attester, attester.show(asked), asked, { policy: { ...POLICY, tiers: ['A'] } });
    expect(() => issueEar(input({ appraisal, session: SESSION }))).toThrow(
      expect.objectContaining({ code: 'EAR_SESSION_NOT_VERIFIED' }),
    );
  });

  it('stays small enough to be taken, whatever an attester says it runs', async () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const containers = Array.from({ length: 1024 }, (_, i) => ({
      container: `${i}-${'ä'.repeat(250)}`,
      processes: [],
    }));
    const message = attester.show(asked, {
      parts: { inventory: { scope: 'ä'.repeat(4096), containers, changed: [] } },
    });
    const ear = issueEar(input({ appraisal: judge(attester, message, asked) }));
    expect(ear.length).toBeLessThanOrEqual(64 * 1024);
    expect((await verifyEar(ear, trust, NOW)).platform.state).toBe('DEGRADED');
  });
});

describe('verifying an EAR', () => {
  it('is bound to the time: not before, not after', async () => {
    const ear = issueEar(input());
    await expect(verifyEar(ear, trust, seconds(599))).resolves.toBeDefined();
    await expect(verifyEar(ear, trust, seconds(600))).rejects.toMatchObject({ code: 'EAR_EXPIRED' });
    await expect(verifyEar(ear, trust, seconds(-61))).rejects.toMatchObject({ code: 'EAR_NOT_YET_VALID' });
    await expect(verifyEar(ear, trust, new Date(Number.NaN))).rejects.toMatchObject({
      code: 'EAR_NOT_YET_VALID',
    });
  });

  it('refuses another issuer, another key, and a key id that two keys have', async () => {
    const ear = issueEar(input());
    await expect(verifyEar(ear, trust, NOW)).resolves.toBeDefined();
    await expect(verifyEar(ear, { ...trust, issuer: 'https://other' }, NOW)).rejects.toMatchObject({
      code: 'EAR_ISSUER',
    });
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const foreign = issueEar(input({ key: other.privateKey }));
    await expect(verifyEar(foreign, trust, NOW)).rejects.toMatchObject({ code: 'EAR_SIGNATURE' });
    const unknown = issueEar(input({ keyId: 'key-2' }));
    await expect(verifyEar(unknown, trust, NOW)).rejects.toMatchObject({ code: 'EAR_KEY_UNKNOWN' });
    const twice = { ...trust, jwks: { keys: [...trust.jwks.keys, ...trust.jwks.keys] } };
    await expect(verifyEar(ear, twice, NOW)).rejects.toMatchObject({ code: 'EAR_KEY_UNKNOWN' });
  });

  it('refuses any single bit of header, claims or signature turned', async () => {
    const ear = issueEar(input());
    const bytes = utf8(ear);
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      await expect(verifyEar(fromUtf8(changed), trust, NOW), `character ${at}`).rejects.toThrow();
    }
  });

  const good = { alg: 'ES256', typ: 'application/eat+jwt', kid: 'key-1' };
  it.each<[string, Record<string, unknown>, string]>([
    ['no signature algorithm', { ...good, alg: 'none' }, 'EAR_ALGORITHM'],
    ['a MAC', { ...good, alg: 'HS256' }, 'EAR_ALGORITHM'],
    ['another type', { ...good, typ: 'JWT' }, 'EAR_TYPE'],
    ['its own key', { ...good, jwk: {} }, 'EAR_MALFORMED'],
    ['a critical extension', { ...good, crit: ['b64'], b64: false }, 'EAR_MALFORMED'],
  ])('refuses a header with %s', async (_, header, code) => {
    const claims = parseJson(fromBase64Url(issueEar(input()).split('.')[1] ?? ''));
    await expect(verifyEar(signed(good, claims), trust, NOW)).resolves.toBeDefined();
    await expect(verifyEar(signed(header, claims), trust, NOW)).rejects.toMatchObject({ code });
  });

  it.each<[string, (claims: string) => string, string]>([
    ['a claim that nobody knows', (c) => c.replace('"exp":', '"admin":true,"exp":'), 'EAR_MALFORMED'],
    ['a claim twice', (c) => c.replace('"exp":', '"exp":1,"exp":'), 'EAR_MALFORMED'],
    ['another profile', (c) => c.replace('rats/ear#04', 'rats/ear#01'), 'EAR_MALFORMED'],
    [
      'a status better than its claims',
      (c) => c.replace('"configuration":2', '"configuration":96'),
      'EAR_STATUS',
    ],
    [
      'a state better than its status',
      (c) => c.replace('"ear_status":"affirming"', '"ear_status":"none"'),
      'EAR_STATUS',
    ],
    [
      'a sub-module that nobody knows',
      (c) => c.replace('"submods":{', '"submods":{"more":{},'),
      'EAR_MALFORMED',
    ],
    ['a time with a fraction', (c) => c.replace(/"exp":\d+/, '"exp":1.5'), 'EAR_MALFORMED'],
  ])('refuses, though well signed, %s', async (_, change, code) => {
    const claims = fromUtf8(fromBase64Url(issueEar(input()).split('.')[1] ?? ''));
    await expect(verifyEar(signed(good, claims), trust, NOW)).resolves.toBeDefined();
    expect(change(claims)).not.toBe(claims);
    await expect(verifyEar(signed(good, change(claims)), trust, NOW)).rejects.toMatchObject({ code });
  });

  it.each<[string, Partial<SessionClaims>]>([
    ['another builder', { builder: 'device-2' }],
    ['another tier', { tier: 'A' }],
    ['another boot', { boot: 8 }],
  ])('refuses a session with %s than the platform it speaks of', async (_, change) => {
    const ear = issueEar(input({ session: { ...SESSION, ...change } }));
    await expect(verifyEar(ear, trust, NOW)).rejects.toMatchObject({ code: 'EAR_SESSION_NOT_VERIFIED' });
  });

  it.each([
    '',
    'a',
    'a.b',
    'a.b.c.d',
    '..',
    'e30.e30.',
    'bm90anNvbg.e30.AAAA',
    'W10.e30.AAAA',
    'x'.repeat(70_000),
  ])('refuses %.20j', async (text) => {
    await expect(verifyEar(text, trust, NOW)).rejects.toMatchObject({ code: expect.stringMatching(/^EAR_/) });
  });

  it('of a machine on which nothing happens has the claims that its facts alone would give it', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1', instance: 'shop-1' });
    const first = input({}, attester);
    const { platform, instances } = first.appraisal;
    /** The same facts, of a machine that was never seen before. */
    const alone = (facts: EarInput) =>
      earPayload({ ...facts, appraisal: { ...facts.appraisal, platform: { ...facts.appraisal.platform } } });
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
    const evidenceDigest = digest('later evidence');
    const boot = first.appraisal.boot ?? expect.fail();
    const { appraisal } = first;
    const changes: Partial<EarInput>[] = [
      { issuedAt: seconds(61.5) },
      { ttlSeconds: 900 },
      { appraisal: { ...appraisal, evidenceDigest } },
      { issuer: 'https://other.example' },
      { attester: 'device-2' },
      { policyId: 'bare-2' },
      { appraisal: { ...appraisal, authentic: false } },
      { appraisal: { ...appraisal, boot: { ...boot, resetCount: 8 } } },
      { appraisal: { ...appraisal, boot: { ...boot, clock: boot.clock + 60_000n } } },
      { appraisal: { ...appraisal, instances: new Map() } },
      { appraisal: { ...appraisal, platform: { ...platform, state: 'VIOLATED' } } },
      { session: SESSION },
    ];
    expect(instances.size).toBeGreaterThan(0);
    for (const change of changes) {
      for (const facts of [first, { ...first, ...change }, { ...first, issuedAt: seconds(3) }, first]) {
        expect(text(earPayload(facts))).toBe(text(alone(facts)));
      }
    }
    expect(text(alone({ ...first, ...changes[0] }))).not.toBe(text(alone(first)));
  });

  it('that says its evidence’s digest more than once is written anew each time', () => {
    const facts = input();
    const { evidenceDigest, platform } = facts.appraisal;
    const appraisal = { ...facts.appraisal, platform: { ...platform, limits: [`not ${evidenceDigest}`] } };
    earPayload({ ...facts, appraisal });
    const later = earPayload({ ...facts, appraisal: { ...appraisal, evidenceDigest: digest('later') } });
    expect(Buffer.from(later).toString()).toContain(`not ${evidenceDigest}`);
  });
});

/** A JWT with whatever header and claims, signed with the real key. */
function signed(header: Record<string, unknown>, claims: unknown, key: KeyObject = privateKey): string {
  const payload = typeof claims === 'string' ? utf8(claims) : canonicalBytes(claims);
  const input = `${toBase64Url(canonicalBytes(header))}.${toBase64Url(payload)}`;
  return `${input}.${toBase64Url(sign('sha256', utf8(input), { key, dsaEncoding: 'ieee-p1363' }))}`;
}
