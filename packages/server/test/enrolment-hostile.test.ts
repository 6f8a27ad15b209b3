import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concat, fromBase64, toBase64, utf8 } from '@kallio/codec';
import { type EnrolRequest, enrolBegin, enrolProve, enrolStatus } from '@kallio/protocol';
import { type EccPublic, marshalPublic, parsePublic, type TpmtPublic } from '@kallio/tpm/structures';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { answer, enrol, joinToken, requestOf } from './fixture-enrol.ts';
import { configure, type TestServer, testServer } from './fixture-server.ts';
import { Maker, type TestTpm } from './fixture-tpm.ts';

let dir: string;
let maker: Maker;
let one: TestTpm;
let two: TestTpm;
let server: TestServer;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-hostile-'));
  maker = new Maker(join(dir, 'maker'));
  one = await maker.make('one');
  two = await maker.make('two');
  const wide = { enrolment: { maxChallengesPerSource: 4096, maxClaimsPerTpmAndDay: 4096 } };
  server = await testServer({ ekRoots: maker.roots }, (dataDir) => configure(dataDir, wide));
});
afterAll(async () => {
  await server.stop();
  await one.powerOff();
  await two.powerOff();
  rmSync(dir, { recursive: true });
});
afterEach(async () => {
  // The honest twin of every attack below: the same server still takes the same TPM as it is.
  expect(await enrol(server.client(), one, requestOf(one, 'twin'))).toMatchObject({ state: 'pending' });
});

const code = (c: string) => expect.objectContaining({ code: c });

/** What the server says to a body, whatever that is. */
function post(path: string, body: string): Promise<{ status: number; code: unknown; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const sent = request(server.url + path, { method: 'POST', ca: server.ca, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const reply: { error?: { code?: unknown } } = JSON.parse(text);
        resolve({ status: response.statusCode ?? 0, code: reply.error?.code, text });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

describe('an AK is refused before any challenge', () => {
  /** The TPM's own AK, rewritten: an attacker writes what suits the attack. */
  const ak = (): EccPublic => {
    const area = parsePublic(one.akPublic);
    if (area.type !== 'ecc') throw new Error('the AK of this test is an ECC key');
    return area;
  };
  const with_ = (flag: keyof EccPublic['attributes'], set: boolean) => () => ({
    ...ak(),
    attributes: { ...ak().attributes, [flag]: set },
  });
  const rsa =
    (keyBits: number, exponent = 0, modulus: Uint8Array = new Uint8Array(keyBits / 8).fill(0xc5)) =>
    (): TpmtPublic => {
      const { nameAlg, attributes, authPolicy } = ak();
      const scheme = { scheme: 'rsassa', hash: 'sha256' } as const;
      const common = { nameAlg, attributes, authPolicy, symmetric: 'null', scheme } as const;
      return { type: 'rsa', ...common, keyBits, exponent, modulus };
    };
  /** A modulus as long as it should be, of which only the last 1024 bits count. */
  const hollow = concat(new Uint8Array(128), new Uint8Array(128).fill(0xc5));
  it.each<[string, string, () => TpmtPublic]>([
    ['that would sign a made-up quote: not restricted', 'TPM_KEY_RESTRICTION', with_('restricted', false)],
    ['that may leave its TPM: not fixedTPM', 'TPM_KEY_FIXED_TPM', with_('fixedTPM', false)],
    ['whose parent may leave: not fixedParent', 'TPM_KEY_FIXED_PARENT', with_('fixedParent', false)],
    [
      'that came from outside: not sensitiveDataOrigin',
      'TPM_KEY_ORIGIN',
      with_('sensitiveDataOrigin', false),
    ],
    ['that does not sign', 'TPM_KEY_USE', with_('sign', false)],
    ['that decrypts as well', 'TPM_KEY_USE', with_('decrypt', true)],
    ['on P-521', 'TPM_KEY_CURVE', () => ({ ...ak(), curve: 'P-521' })],
    [
      'on BN-P256, a curve for anonymous signatures',
      'TPM_KEY_CURVE',
      () => ({ ...ak(), curve: 'unknown-16' }),
    ],
    ['that is no point of its curve', 'TPM_KEY_POINT', () => ({ ...ak(), x: ak().y })],
    ['of RSA-1024', 'TPM_KEY_SIZE', rsa(1024)],
    ['of RSA-2048 by its length, of RSA-1024 by its value', 'TPM_KEY_SIZE', rsa(2048, 0, hollow)],
    ['of RSA with the exponent 3', 'TPM_KEY_SIZE', rsa(2048, 3)],
    ['whose Name is of SHA-1', 'TPM_SHA1', () => ({ ...ak(), nameAlg: 'sha1' })],
    ['that signs over SHA-1', 'TPM_SHA1', () => ({ ...ak(), scheme: { scheme: 'ecdsa', hash: 'sha1' } })],
    ['that names no scheme', 'TPM_SIGNATURE_SCHEME', () => ({ ...ak(), scheme: { scheme: 'null' } })],
    [
      'that is no key at all',
      'TPM_KEY_TYPE',
      () => {
        const { nameAlg, attributes, authPolicy } = ak();
        const scheme = { scheme: 'hmac', hash: 'sha256' } as const;
        return { type: 'keyedhash', nameAlg, attributes, authPolicy, scheme, unique: new Uint8Array(32) };
      },
    ],
  ])('%s', async (_, refusal, area) => {
    const body = {
      ...requestOf(one, 'be-1', await joinToken(server)),
      akPublic: toBase64(marshalPublic(area())),
    };
    await expect(server.client().call(enrolBegin, { body })).rejects.toThrow(code(refusal));
  });
});

describe('an EK certificate is refused', () => {
  const begin = (change: Partial<EnrolRequest>) =>
    server.client().call(enrolBegin, { body: { ...requestOf(one, 'be-1'), ...change } });

  it('where other bytes follow it, or it is cut', async () => {
    const { ekCertificate } = one;
    await expect(begin({ ekCertificate: toBase64(concat(ekCertificate, Uint8Array.of(0))) })).rejects.toThrow(
      code('PKI_TRAILING_BYTES'),
    );
    await expect(begin({ ekCertificate: toBase64(ekCertificate.slice(0, -1)) })).rejects.toThrow(
      code('PKI_CERTIFICATE_MALFORMED'),
    );
  });

  it('with any one bit of it turned: nobody is the maker’s TPM by a forged certificate', async () => {
    const { ekCertificate } = one;
    const last = ekCertificate.length * 8 - 1;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: last }), async (bit) => {
        const forged = ekCertificate.slice();
        forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const reply = await post(
          '/v1/enrolments',
          JSON.stringify({ ...requestOf(one, 'be-1'), ekCertificate: toBase64(forged) }),
        );
        expect(reply.status, reply.text).toBeGreaterThanOrEqual(400);
        expect(reply.status, reply.text).toBeLessThan(500);
        expect(reply.code).toMatch(/^(?:PKI|ENROL)_/);
      }),
      { numRuns: 150 },
    );
  });
});

describe('whatever is sent to enrol', () => {
  const junk = fc.oneof(
    fc.jsonValue(),
    fc.string(),
    fc.uint8Array({ maxLength: 64 }).map(toBase64),
    fc.constantFrom('__proto__', 'constructor', '\u0000', '../../etc/passwd', 'A'.repeat(20_000)),
  );

  it('is answered with a named refusal, never a failure: members put out, in, or filled with junk', async () => {
    const honest = requestOf(one, 'be-1');
    const members = Object.keys(honest);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...members, 'joinToken', 'more', '__proto__'),
        junk,
        async (member, value) => {
          const body = Object.entries({ ...honest, [`${member}`]: value })
            .map(([name, text]) => `${JSON.stringify(name)}:${JSON.stringify(text)}`)
            .concat(member === '__proto__' ? [`"__proto__":${JSON.stringify(value)}`] : [])
            .join(',');
          const reply = await post('/v1/enrolments', `{${body}}`);
          if (reply.status === 200) return;
          expect(reply.status, reply.text).toBeGreaterThanOrEqual(400);
          expect(reply.status, reply.text).toBeLessThan(500);
          expect(reply.code, reply.text).toMatch(/^[A-Z][A-Z0-9_]+$/);
          expect(reply.text).not.toMatch(/\bat .*\.ts|node_modules/);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('is answered with a named refusal, never a failure: keys with bytes turned, put in and cut out', async () => {
    const honest = requestOf(one, 'be-1');
    const cut = fc.record({
      member: fc.constantFrom('ekPublic' as const, 'akPublic' as const),
      at: fc.nat(150),
      out: fc.nat(4),
      put: fc.uint8Array({ maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(cut, async ({ member, at, out, put }) => {
        const key = fromBase64(honest[member]);
        const changed = concat(key.slice(0, at), put, key.slice(at + out));
        const reply = await post(
          '/v1/enrolments',
          JSON.stringify({ ...honest, [member]: toBase64(changed) }),
        );
        if (reply.status !== 200) {
          expect(reply.status, reply.text).toBeLessThan(500);
          expect(reply.code, reply.text).toMatch(/^(?:TPM|CODEC|ENROL|SHAPE)_/);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is answered with a named refusal, never a failure: proofs', async () => {
    const { challenge } = await server.client().call(enrolBegin, { body: requestOf(one, 'be-1') });
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.string({ maxLength: 40 }), junk, async (known, id, proof) => {
        const path = `/v1/enrolments/${known ? challenge : encodeURIComponent(id)}/proof`;
        const reply = await post(path, JSON.stringify({ proof }));
        expect(reply.status, reply.text).toBeGreaterThanOrEqual(400);
        expect(reply.status, reply.text).toBeLessThan(500);
      }),
      { numRuns: 150 },
    );
  });

  it('as one secret member twice is refused, of which each reader may take another', async () => {
    const body = JSON.stringify(requestOf(one, 'be-1'));
    const twice = body.replace('{', '{"attester":"be-2",');
    expect(await post('/v1/enrolments', twice)).toMatchObject({ status: 400, code: 'JSON_DUPLICATE_KEY' });
  });
});

describe('at the same moment', () => {
  it('one challenge is answered ten times: one answer counts, and one use of the token', async () => {
    const body = requestOf(one, 'race', await joinToken(server, 5));
    const { challenge, ...rest } = await server.client().call(enrolBegin, { body });
    const proof = await answer(one, body, { challenge, ...rest });
    const prove = () => server.client().call(enrolProve, { params: { challenge }, body: { proof } });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, prove));
    const won = outcomes.filter(({ status }) => status === 'fulfilled');
    expect(won).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected')
        expect(outcome.reason).toMatchObject({ code: 'ENROL_CHALLENGE_USED' });
    }
    expect(await server.client().call(enrolStatus, { params: { challenge } })).toMatchObject({
      state: 'admitted',
    });
  });

  it('a right answer and nine wrong ones: whichever comes first, it is the only one', async () => {
    const body = requestOf(two, 'race-2');
    const { challenge, ...rest } = await server.client().call(enrolBegin, { body });
    const right = await answer(two, body, { challenge, ...rest });
    const proofs = Array.from({ length: 10 }, (_, i) =>
      i === 5 ? right : toBase64(new Uint8Array(32).fill(i)),
    );
    const outcomes = await Promise.allSettled(
      proofs.map((proof) => server.client().call(enrolProve, { params: { challenge }, body: { proof } })),
    );
    const codes = outcomes.map((o) => (o.status === 'fulfilled' ? 'answered' : o.reason.code));
    expect(codes.filter((c) => c !== 'ENROL_CHALLENGE_USED')).toHaveLength(1);
  });

  it('two TPMs show one join token for one use: it admits one of them', async () => {
    const fresh = await testServer({ ekRoots: maker.roots });
    const token = await joinToken(fresh, 1);
    const both = [
      [one, 'first'],
      [two, 'second'],
    ] as const;
    const bodies = both.map(([tpm, name]) => requestOf(tpm, name, token));
    const challenges = await Promise.all(bodies.map((body) => fresh.client().call(enrolBegin, { body })));
    const proofs = await Promise.all(
      both.map(([tpm], i) => {
        const [body, challenge] = [bodies[i], challenges[i]];
        return body === undefined || challenge === undefined ? '' : answer(tpm, body, challenge);
      }),
    );
    const states = await Promise.all(
      challenges.map(async ({ challenge }, i) => {
        const body = { proof: proofs[i] ?? '' };
        return (await fresh.client().call(enrolProve, { params: { challenge }, body })).state;
      }),
    );
    expect(states.sort()).toEqual(['admitted', 'pending']);
    await fresh.stop();
  });
});

it('the secret of a challenge can’t be read from what the server says of it', async () => {
  // What an outsider may ask about a challenge: begin, status, a wrong proof. None depends on the answer.
  const { challenge } = await server.client().call(enrolBegin, { body: requestOf(one, 'be-1') });
  const status = await server.client().call(enrolStatus, { params: { challenge } });
  expect(Object.keys(status).sort()).toEqual(['attester', 'reason', 'state']);
  const wrong = await Promise.all(
    [new Uint8Array(32), utf8('x'.repeat(32))].map(async (proof) => {
      const next = await server.client().call(enrolBegin, { body: requestOf(one, 'be-1') });
      return post(`/v1/enrolments/${next.challenge}/proof`, JSON.stringify({ proof: toBase64(proof) }));
    }),
  );
  expect(new Set(wrong.map(({ text }) => text)).size).toBe(1);
});
