import { createHash, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { toBase64 } from '@kallio/codec';
import {
  attesterDecide,
  attesterHistory,
  attestersList,
  enrolBegin,
  enrolProve,
  enrolStatus,
  joinTokenCreate,
  nonceCreate,
} from '@kallio/protocol';
import { marshalPublic, parsePublic, type TpmtPublic } from '@kallio/tpm/structures';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answer, enrol, joinToken, requestOf } from './fixture-enrol.ts';
import { configure, type TestServer, testServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import { Maker, type TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });

const site = testSite(['one', 'two'], { init: () => ({}) });
let server: TestServer;
let maker: Maker;
let dir: string;
let one: TestTpm;
let two: TestTpm;
beforeEach(() => {
  ({ server, maker, dir } = site);
  [one, two] = [site.tpm('one'), site.tpm('two')];
});

const listed = async () => (await server.admin().call(attestersList, {})).attesters;

describe('an attester on a real swtpm', () => {
  it('is admitted by join token, and shown with its TPM', async () => {
    const request = requestOf(one, 'be-1', await joinToken(server));
    expect(await enrol(server.client(), one, request)).toEqual({ attester: 'be-1', state: 'admitted' });
    expect(await listed()).toEqual([
      expect.objectContaining({ attester: 'be-1', kind: 'builder', admission: 'admitted', state: 'UNKNOWN' }),
    ]);
  });

  it('waits for the operator without one, and learns its own status only', async () => {
    const client = server.client();
    const request = requestOf(one, 'be-1');
    const challenge = await client.call(enrolBegin, { body: request });
    const params = { challenge: challenge.challenge };
    expect(await client.call(enrolStatus, { params })).toMatchObject({ reason: { code: 'ENROL_UNPROVEN' } });
    const body = { proof: await answer(one, request, challenge) };
    expect(await client.call(enrolProve, { params, body })).toMatchObject({ state: 'pending' });
    const nonce = { attester: 'be-1', purpose: 'transport-key', enrolment: challenge.challenge } as const;
    await expect(client.call(nonceCreate, { body: nonce })).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));

    const [waiting] = await listed();
    await server.admin().call(attesterDecide, {
      params: { attester: 'be-1' },
      body: { decision: 'admit', ek: waiting?.ek ?? '' },
    });
    expect(await client.call(enrolStatus, { params })).toEqual({ attester: 'be-1', state: 'admitted' });
    await client.call(nonceCreate, { body: nonce });
  });

  it('may answer after the server was restarted', async () => {
    const request = requestOf(one, 'be-1', await joinToken(server));
    const challenge = await server.client().call(enrolBegin, { body: request });
    const proof = await answer(one, request, challenge);
    await server.restart();
    const proved = server
      .client()
      .call(enrolProve, { params: { challenge: challenge.challenge }, body: { proof } });
    expect(await proved).toMatchObject({ state: 'admitted' });
  });

  it('is admitted again after it made a new AK, with a token only', async () => {
    const client = server.client();
    await enrol(client, one, requestOf(one, 'be-1', await joinToken(server)));
    await one.newAk();
    expect(await enrol(client, one, requestOf(one, 'be-1'))).toMatchObject({ state: 'pending' });
    expect(await enrol(client, one, requestOf(one, 'be-1', await joinToken(server)))).toMatchObject({
      state: 'admitted',
    });
  });
});

describe('after TPM2_Clear', () => {
  it('a TPM is the same by its EK: a new admission, with the history kept', async () => {
    const three = await maker.make('cleared');
    const client = server.client();
    await enrol(client, three, requestOf(three, 'be-1', await joinToken(server)));
    const [before] = await listed();
    await three.clear();
    // Not by itself, and the old admission stands until somebody decides.
    expect(await enrol(client, three, requestOf(three, 'be-1'))).toMatchObject({ state: 'pending' });
    expect((await listed()).map(({ admission }) => admission).sort()).toEqual(['admitted', 'pending']);
    const body = { decision: 'admit', ek: before?.ek ?? '' } as const;
    const after = await server.admin().call(attesterDecide, { params: { attester: 'be-1' }, body });
    expect(after).toMatchObject({ admission: 'admitted', state: 'UNKNOWN', ek: before?.ek });
    expect(after.ak).not.toBe(before?.ak);

    const history = await server.admin().call(attesterHistory, { params: { attester: 'be-1' } });
    expect(history.admissions.map(({ admission, by, ak }) => [admission, by, ak])).toEqual([
      ['admitted', 'join-token', before?.ak],
      ['pending', 'enrolment', after.ak],
      ['superseded', 'token:admin', before?.ak],
      ['admitted', 'token:admin', after.ak],
    ]);
    expect(await server.admin().call(attesterHistory, { params: { attester: 'be-2' } })).toEqual({
      admissions: [],
    });
    await three.powerOff();
  });
});

describe('one TPM is one attester', () => {
  it('when two TPMs claim one name, also at the same moment: one is admitted, the other held', async () => {
    const token = await joinToken(server, 2);
    const states = await Promise.all(
      [one, two].map(async (tpm) => (await enrol(server.client(), tpm, requestOf(tpm, 'be-1', token))).state),
    );
    expect(states.sort()).toEqual(['admitted', 'held']);
    expect((await listed()).map((a) => a.admission).sort()).toEqual(['admitted', 'held']);
  });

  it('when one TPM claims two names, also at the same moment: one is admitted, the other held', async () => {
    const token = await joinToken(server, 2);
    const requests = ['be-1', 'be-2'].map((name) => requestOf(one, name, token));
    const challenges = await Promise.all(requests.map((body) => server.client().call(enrolBegin, { body })));
    const proofs: string[] = [];
    for (const [i, challenge] of challenges.entries()) {
      const request = requests[i];
      if (request !== undefined) proofs.push(await answer(one, request, challenge));
    }
    const states = await Promise.all(
      challenges.map(async ({ challenge }, i) => {
        const body = { proof: proofs[i] ?? '' };
        return (await server.client().call(enrolProve, { params: { challenge }, body })).state;
      }),
    );
    expect(states.sort()).toEqual(['admitted', 'held']);
  });

  it.each<[string, (ek: TpmtPublic) => TpmtPublic]>([
    ['another policy', (ek) => ({ ...ek, authPolicy: new Uint8Array(48).fill(1) })],
    ['no policy', (ek) => ({ ...ek, authPolicy: new Uint8Array(0) })],
    ['another attribute', (ek) => ({ ...ek, attributes: { ...ek.attributes, noDA: true } })],
  ])('though its EK is written with %s', async (_, rewrite) => {
    const request = requestOf(one, 'be-2', await joinToken(server));
    const rewritten = { ...request, ekPublic: toBase64(marshalPublic(rewrite(parsePublic(one.ekPublic)))) };
    // The honest twin: as it stands in the TPM.
    const first = requestOf(one, 'be-1', await joinToken(server));
    expect(await enrol(server.client(), one, first)).toMatchObject({ state: 'admitted' });
    // The key is the same, so this TPM opens the credential: it must not pass for another one.
    expect(await enrol(server.client(), one, rewritten)).toMatchObject({
      state: 'held',
      reason: { code: 'ENROL_TPM_TAKEN' },
    });
  });

  it('known by the key in its EK certificate, as an operator reads it there', async () => {
    await enrol(server.client(), one, requestOf(one, 'be-1'));
    const { publicKey } = new X509Certificate(one.ekCertificate);
    const spki = publicKey.export({ format: 'der', type: 'spki' });
    expect((await listed())[0]?.ek).toBe(createHash('sha256').update(spki).digest('hex'));
  });
});

describe('a challenge', () => {
  const begin = async () => {
    const request = requestOf(one, 'be-1', await joinToken(server));
    const challenge = await server.client().call(enrolBegin, { body: request });
    const prove = (proof: string, id = challenge.challenge) =>
      server.client().call(enrolProve, { params: { challenge: id }, body: { proof } });
    return { request, challenge, prove, right: await answer(one, request, challenge) };
  };
  const wrong = toBase64(new Uint8Array(32));

  it('is burned by a wrong answer, which hears nothing but that', async () => {
    const { prove, right, challenge } = await begin();
    await expect(prove(wrong)).rejects.toThrow(code('ENROL_PROOF_WRONG'));
    await expect(prove(right)).rejects.toThrow(code('ENROL_CHALLENGE_USED'));
    const params = { challenge: challenge.challenge };
    expect(await server.client().call(enrolStatus, { params })).toMatchObject({ state: 'refused' });
    expect(await listed()).toEqual([]);
  });

  it('does not cost the join token when it is answered wrongly', async () => {
    const { prove, request } = await begin();
    await expect(prove(wrong)).rejects.toThrow(code('ENROL_PROOF_WRONG'));
    expect(await enrol(server.client(), one, request)).toMatchObject({ state: 'admitted' });
  });

  it('takes one answer: a replay is refused', async () => {
    const { prove, right } = await begin();
    expect(await prove(right)).toMatchObject({ state: 'admitted' });
    await expect(prove(right)).rejects.toThrow(code('ENROL_CHALLENGE_USED'));
  });

  it('takes no answer of another challenge', async () => {
    const [first, second] = [await begin(), await begin()];
    await expect(second.prove(first.right)).rejects.toThrow(code('ENROL_PROOF_WRONG'));
    expect(await first.prove(first.right)).toMatchObject({ state: 'admitted' });
  });

  it('takes no answer after its time', async () => {
    const { prove, right } = await begin();
    server.advance(60);
    await expect(prove(right)).rejects.toThrow(code('ENROL_CHALLENGE_EXPIRED'));
  });

  it('must be one that this server made', async () => {
    const { prove, right } = await begin();
    await expect(prove(right, 'A'.repeat(24))).rejects.toThrow(code('ENROL_CHALLENGE_UNKNOWN'));
    expect(await prove(right)).toMatchObject({ state: 'admitted' });
  });

  it('can’t be opened for the AK of another TPM', async () => {
    const honest = requestOf(one, 'be-1');
    const borrowed = { ...honest, akPublic: toBase64(two.akPublic) };
    const challenge = await server.client().call(enrolBegin, { body: borrowed });
    // The EK's TPM does not hold that AK, and the AK's TPM does not hold that EK.
    await expect(answer(one, borrowed, challenge)).rejects.toThrow();
    await expect(answer(two, borrowed, challenge)).rejects.toThrow();
    expect(await enrol(server.client(), one, honest)).toMatchObject({ state: 'pending' });
  });
});

describe('a claim is refused before any challenge', () => {
  const refused = (body: ReturnType<typeof requestOf>, c: string) =>
    expect(server.client().call(enrolBegin, { body })).rejects.toThrow(code(c));
  afterEach(async () => {
    // The honest twin of every case below.
    expect(await enrol(server.client(), one, requestOf(one, 'twin'))).toMatchObject({ state: 'pending' });
  });

  it('with an EK other than the certificate’s', () =>
    refused({ ...requestOf(one, 'be-1'), ekPublic: toBase64(two.ekPublic) }, 'ENROL_EK_MISMATCH'));

  it('with an AK that is not restricted, so that it would sign a made-up quote', () =>
    refused({ ...requestOf(one, 'be-1'), akPublic: toBase64(one.signingPublic) }, 'TPM_KEY_RESTRICTION'));

  it('with an EK in the AK’s place', () =>
    refused({ ...requestOf(one, 'be-1'), akPublic: toBase64(one.ekPublic) }, 'TPM_KEY_USE'));

  it('with bytes after the key, or not canonical base64', async () => {
    const request = requestOf(one, 'be-1');
    const longer = new Uint8Array([...one.akPublic, 0]);
    await refused({ ...request, akPublic: toBase64(longer) }, 'CODEC_TRAILING');
    await refused({ ...request, akPublic: `${request.akPublic.replace(/=+$/, '')}` }, 'CODEC_BASE64');
  });

  it('with a join token that is used up, past its time, or of another name', async () => {
    const make = async (body: { uses: number; ttlSeconds: number; attester?: string }) =>
      (await server.admin().call(joinTokenCreate, { body })).token;
    await refused(requestOf(one, 'be-1', 'no-such-token-at-all'), 'ENROL_JOIN_TOKEN_INVALID');
    const other = await make({ uses: 1, ttlSeconds: 60, attester: 'be-2' });
    await refused(requestOf(one, 'be-1', other), 'ENROL_JOIN_TOKEN_INVALID');
    const short = await make({ uses: 1, ttlSeconds: 5 });
    server.advance(5);
    await refused(requestOf(one, 'be-1', short), 'ENROL_JOIN_TOKEN_INVALID');
    const spent = await make({ uses: 1, ttlSeconds: 60 });
    await enrol(server.client(), two, requestOf(two, 'be-3', spent));
    await refused(requestOf(one, 'be-1', spent), 'ENROL_JOIN_TOKEN_INVALID');
  });
});

describe('TPM makers', () => {
  it('are trusted when they are named, and none silently', async () => {
    const bare = await testServer({ ekRoots: [] });
    const others = new Maker(join(dir, 'others'));
    const foreign = await others.make('three');
    const request = requestOf(foreign, 'be-1');
    // The same names as the pinned maker's, by other keys.
    await expect(bare.client().call(enrolBegin, { body: request })).rejects.toThrow(code('ENROL_NO_ROOTS'));
    await expect(server.client().call(enrolBegin, { body: request })).rejects.toThrow(code('PKI_SIGNATURE'));
    await bare.stop();
    const theirs = await testServer({ ekRoots: others.roots });
    expect(await enrol(theirs.client(), foreign, request)).toMatchObject({ state: 'pending' });
    await theirs.stop();
    await foreign.powerOff();
  });
});

it('a flood of enrolments is bounded, and passes', async () => {
  const small = await testServer({ ekRoots: maker.roots }, (dataDir) =>
    configure(dataDir, { enrolment: { maxChallengesPerSource: 2 } }),
  );
  const begin = () => small.client().call(enrolBegin, { body: requestOf(one, 'be-1') });
  await begin();
  await begin();
  await expect(begin()).rejects.toThrow(code('RATE_LIMITED'));
  small.advance(60);
  await begin();
  await small.stop();
});
