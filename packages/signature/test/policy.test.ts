import { generateKeyPairSync } from 'node:crypto';
import { type Digest, digestOf, toHex, utf8 } from '@kallio/codec';
import { COSIGNATURE_KEY, cosign, formatTlogProof, formatVerifierKey, parseNote } from '@kallio/tlog';
import { nameOf, signingAuthority, signingPolicyOf } from '@kallio/tpm/structures';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type ImagePolicy,
  keyDigest,
  parseImagePolicy,
  type Revocation,
  statementDigest,
  verifyImageSignature,
} from '../src/index.ts';
import {
  type Build,
  build,
  claimsOf,
  configBytes,
  manifestDigest,
  TestServer,
  testKey,
} from './support/honest.ts';

const server = new TestServer();
const key = testKey();
afterAll(() => server.close());
const policy = server.policy();
const other = digestOf(utf8('something else'));

async function judge(bundle: Uint8Array, changes: Partial<ImagePolicy>, proofs: readonly Uint8Array[] = []) {
  const made = parseImagePolicy(JSON.parse(JSON.stringify({ ...policy, ...changes })));
  return verifyImageSignature({
    bundle,
    manifestDigest,
    configBytes,
    policy: made,
    now: new Date(),
    proofs,
  });
}

/** How this policy judges an honest build: the code, its pointer and whether it says what to do; or nothing. */
async function found(changes: Partial<ImagePolicy>, made?: Build, proofs: readonly Uint8Array[] = []) {
  const { bundle } = made ?? (await build(server, key));
  const { ok, refusal, steps } = await judge(bundle, changes, proofs);
  if (ok) return undefined;
  // Whatever a policy refuses says what to do next.
  expect(refusal.hint, refusal.code).toMatch(/\S/);
  expect(steps.at(-1)?.ok).toBe(false);
  return [refusal.code, refusal.pointer];
}

describe('a policy that names no rule', () => {
  test('adds no step', async () => {
    const { bundle } = await build(server, key);
    const { steps } = await judge(bundle, {});
    expect(steps.at(-1)?.step).toBe('policy');
  });

  test('that demands nothing, or what it does not know, can’t be written', () => {
    parseImagePolicy({ ...policy, platform: 'linux/arm/v7' });
    const log = policy.logs[0];
    const bad: [unknown, string][] = [
      [{ ...policy, builders: [] }, '/builders'],
      [{ ...policy, tiers: [] }, '/tiers'],
      [{ ...policy, logs: [] }, '/logs'],
      [{ ...policy, logs: [log, log] }, '/logs/1'],
      [{ ...policy, jwks: { keys: [] } }, '/jwks/keys'],
      [{ ...policy, allowAll: true }, '/'],
      [{ ...policy, signingKeys: [] }, '/signingKeys'],
      [{ ...policy, revoked: [{ builder: 'build-1' }] }, '/revoked/0'],
      [{ ...policy, revoked: [{ builder: 'b', session: 'session-0001', reason: 'two' }] }, '/revoked/0'],
      [
        { ...policy, revoked: [{ builder: 'build-1', reason: 'x', since: '2026-13-41T00:00:00Z' }] },
        '/revoked/0/since',
      ],
      [
        { ...policy, revoked: [{ builder: 'build-1', reason: 'x', since: '2026-02-30T00:00:00Z' }] },
        '/revoked/0/since',
      ],
      [{ ...policy, require: { nonRoot: false } }, '/require/nonRoot'],
      [{ ...policy, platform: 'linux' }, '/platform'],
      [{ ...policy, platform: 'linux/arm/v7/more' }, '/platform'],
      [{}, '/'],
    ];
    for (const [document, pointer] of bad) {
      const refused = { code: 'IMAGE_POLICY_INVALID', pointer: expect.stringMatching(`^${pointer}`) };
      expect(() => parseImagePolicy(document), pointer).toThrow(expect.objectContaining(refused));
    }
  });
});

describe('a policy names', () => {
  test('signing keys', async () => {
    expect(await found({ signingKeys: [other, keyDigest(key.spki)] })).toBeUndefined();
    expect(await found({ signingKeys: [other] })).toEqual([
      'POLICY_SIGNING_KEY',
      '/predicate/buildEnvironment/akCertification/key',
    ]);
  });

  test('the appraisal policies by which a build environment may have been judged', async () => {
    expect(await found({ appraisalPolicies: ['other-hosts', 'build-hosts'] })).toBeUndefined();
    expect(await found({ appraisalPolicies: ['other-hosts'] })).toEqual([
      'POLICY_APPRAISAL',
      '/predicate/buildEnvironment/ear',
    ]);
  });

  test('how long the log may come after the session', async () => {
    expect(await found({ maxResultAgeSeconds: 30 })).toBeUndefined();
    const late = await build(server, key, { issuedAt: new Date(Date.now() - 300_000) });
    expect(await found({}, late)).toBeUndefined();
    expect(await found({ maxResultAgeSeconds: 30 }, late)).toEqual([
      'POLICY_RESULT_AGE',
      '/predicate/buildEnvironment/ear',
    ]);
  });
});

describe('a policy requires', () => {
  test('the name that the image was built for', async () => {
    const names = ['registry.example/shop/api'];
    expect(await found({ require: { names: ['registry.example/other', ...names] } })).toBeUndefined();
    expect(await found({ require: { names: ['registry.example/shop'] } })).toEqual([
      'CLAIM_NAME',
      '/subject/0/name',
    ]);
  });

  test('labels: a value, or any', async () => {
    const name = 'org.example.name';
    const label = (labels: Record<string, string[]>) => found({ require: { labels } });
    expect(await label({ [name]: [] })).toBeUndefined();
    expect(await label({ [name]: ['web', 'api'] })).toBeUndefined();
    expect(await label({ [name]: ['web'] })).toEqual(['CLAIM_LABEL', `/predicate/image/labels/${name}`]);
    expect(await label({ 'org.opencontainers.image.source': [] })).toEqual([
      'CLAIM_LABEL',
      '/predicate/image/labels/org.opencontainers.image.source',
    ]);
    // What every object has is no label.
    expect((await label({ toString: [] }))?.[0]).toBe('CLAIM_LABEL');
  });

  test('a base image, by its layers', async () => {
    const one = digestOf(utf8('layer one'));
    const two = digestOf(utf8('layer two'));
    const bases = (...lists: Digest[][]) =>
      found({ require: { bases: lists.map((layers, i) => ({ name: `base ${i}`, layers })) } });
    expect(await bases([one])).toBeUndefined();
    expect(await bases([other], [one, two])).toBeUndefined();
    const refused = ['CLAIM_BASE', '/predicate/image/layers'];
    expect(await bases([two])).toEqual(refused);
    expect(await bases([one, two, other])).toEqual(refused);
  });

  test('that the image’s processes don’t start as root', async () => {
    const judged = async (user: string) => {
      const config = JSON.parse(Buffer.from(configBytes).toString('utf8'));
      config.config.User = user;
      const claims = claimsOf();
      if ('index' in claims.image) throw new Error('an image');
      const made = await build(server, key, { claims: { ...claims, image: { ...claims.image, user } } });
      const verdict = await verifyImageSignature({
        bundle: made.bundle,
        manifestDigest,
        configBytes: utf8(JSON.stringify(config)),
        policy: { ...policy, require: { nonRoot: true } },
        now: new Date(),
      });
      return verdict.refusal?.code;
    };
    for (const user of ['1000', '1:0', '65534:app', '2147483647']) {
      expect([user, await judged(user)]).toEqual([user, undefined]);
    }
    // Engines read a sign before a number, and a name as the image's own /etc/passwd has it.
    const root = ['', 'root', '0', '00:1000', 'root:staff', '+0', '-0', ':1000'];
    const unknown = ['app', 'toor:staff', '4294967296', '1000 ', '0x0'];
    for (const user of [...root, ...unknown]) {
      expect([user, await judged(user)]).toEqual([user, 'CLAIM_USER']);
    }
  });

  test('that the signature names the image’s files', async () => {
    expect(await found({ require: { fileManifest: true } })).toBeUndefined();
    const claims = { ...claimsOf(), fileManifest: { digest: other, files: 0 } };
    const made = await build(server, key, { claims });
    expect(await found({}, made)).toBeUndefined();
    expect(await found({ require: { fileManifest: true } }, made)).toEqual([
      'CLAIM_FILE_MANIFEST',
      '/predicate/fileManifest/files',
    ]);
  });

  test('that the build host booted with secure boot on', async () => {
    const require = { secureBoot: true as const };
    expect(await found({ require })).toEqual(['CLAIM_SECURE_BOOT', '/predicate/buildEnvironment/secureBoot']);
    const session = { secureBoot: true as const };
    expect(
      await found({ require }, await build(server, key, { session, environment: session })),
    ).toBeUndefined();
    // What the statement says of itself counts for nothing: the server's result must say it.
    const said = await build(server, key, { environment: session });
    expect((await judge(said.bundle, { require })).refusal?.code).toBe('SIGNATURE_RESULT_MISMATCH');
    const unsaid = await build(server, key, { session });
    expect((await judge(unsaid.bundle, {})).refusal?.code).toBe('SIGNATURE_RESULT_MISMATCH');
  });

  test('that the signing key opens by the approvals of these operators alone', async () => {
    const operator = () => {
      const name = nameOf(signingAuthority(testKey().spki));
      return { name: toHex(name), signingPolicy: toHex(signingPolicyOf(name)) };
    };
    const [one, two, stranger] = [operator(), operator(), operator()];
    const require = { signingAuthority: [one.name, two.name] };
    const refused = ['CLAIM_SIGNING_AUTHORITY', '/predicate/buildEnvironment/akCertification/key'];
    for (const { signingPolicy } of [one, two]) {
      expect(
        await found({ require }, await build(server, key, { session: { signingPolicy } })),
      ).toBeUndefined();
    }
    // A key that anybody on the host may use; one that somebody else governs.
    expect(await found({ require })).toEqual(refused);
    const { signingPolicy } = stranger;
    expect(await found({ require }, await build(server, key, { session: { signingPolicy } }))).toEqual(
      refused,
    );
    for (const name of ['', 'operator', one.name.toUpperCase(), `${one.name}00`, one.signingPolicy]) {
      expect(() => parseImagePolicy({ ...policy, require: { signingAuthority: [name] } })).toThrow(
        expect.objectContaining({ code: 'IMAGE_POLICY_INVALID' }),
      );
    }
  });

  test('so many evidence messages of the session', async () => {
    expect(await found({ require: { evidence: 2 } })).toBeUndefined();
    expect(await found({ require: { evidence: 3 } })).toEqual([
      'CLAIM_EVIDENCE',
      '/predicate/buildEnvironment/evidence',
    ]);
    const evidence = [1, 2, 3].map((n) => digestOf(utf8(`evidence ${n}`)));
    const made = await build(server, key, { session: { evidence } });
    expect(await found({ require: { evidence: 3 } }, made)).toBeUndefined();
  });
});

describe('a policy revokes', () => {
  const reason = 'broken into';
  const evidence = digestOf(utf8('opening evidence'));
  const layer = digestOf(utf8('layer two'));
  const cases: [string, Revocation, Revocation][] = [
    ['REVOKED_BUILDER', { builder: 'build-1', reason }, { builder: 'build-2', reason }],
    ['REVOKED_SIGNING_KEY', { signingKey: keyDigest(key.spki), reason }, { signingKey: other, reason }],
    ['REVOKED_IMAGE', { image: manifestDigest, reason }, { image: other, reason }],
    ['REVOKED_LAYER', { layer, reason }, { layer: other, reason }],
    ['REVOKED_STATEMENT', { statement: statementDigest(claimsOf()), reason }, { statement: other, reason }],
    ['REVOKED_SESSION', { session: 'session-0001', reason }, { session: 'session-0002', reason }],
    ['REVOKED_EVIDENCE', { evidence, reason }, { evidence: other, reason }],
  ];
  for (const [code, revoked, another] of cases) {
    test(`by ${Object.keys(revoked)[0]}, from the beginning or from a time on`, async () => {
      expect(await found({ revoked: [another] })).toBeUndefined();
      expect(await found({ revoked: [another, revoked] })).toEqual([code, 'policy:/revoked/1']);
      const since = (seconds: number) => ({
        ...revoked,
        since: new Date(Date.now() + seconds * 1000).toISOString(),
      });
      expect(await found({ revoked: [since(-60)] })).toEqual([code, 'policy:/revoked/0']);
      // Logged before that time: it stays good.
      expect(await found({ revoked: [since(60)] })).toBeUndefined();
    });
  }

  test('and says why', async () => {
    const { bundle } = await build(server, key);
    const { refusal } = await judge(bundle, { revoked: [{ builder: 'build-1', reason: 'CVE-2026-1' }] });
    expect(refusal?.message).toBe('The builder is revoked: CVE-2026-1');
  });
});

describe('a policy wants witnesses', () => {
  const witness = (name: string) => {
    const pair = generateKeyPairSync('ed25519');
    const raw = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
    return { name, raw, key: pair.privateKey, vkey: formatVerifierKey(name, COSIGNATURE_KEY, raw) };
  };
  const [one, two, three] = [witness('w.example/1'), witness('w.example/2'), witness('w.example/3')];
  const stranger = witness('w.example/stranger');

  const logs = async () => {
    const log = await server.log();
    return policy.logs.map((one) => ({ ...one, verifierKey: log.verifierKey }));
  };
  const wants = async (quorum: number, keys = [one, two, three]): Promise<Partial<ImagePolicy>> => ({
    logs: await logs(),
    witnesses: { quorum, keys: keys.map(({ vkey }) => vkey) },
  });
  /** A proof of a build's entry, with these witnesses' signatures under the newest head. */
  async function proofOf({ entry }: Build, by: readonly (typeof one)[], time = 1_800_000_000) {
    const log = await server.log();
    const note = log.checkpoint('c2sp');
    const { text } = parseNote(note);
    const lines = by.map((who) => cosign(text, who, time)).join('');
    const hashes = log.inclusion(entry.logIndex, log.head.size);
    return utf8(formatTlogProof({ index: entry.logIndex, hashes, checkpoint: note + lines }));
  }

  test('so many of those that it names', async () => {
    const made = await build(server, key);
    const two_of_three = await wants(2);
    expect(await found(two_of_three, made, [await proofOf(made, [one, three])])).toBeUndefined();
    const quorum = ['WITNESS_QUORUM', 'policy:/witnesses/quorum'];
    expect(await found(two_of_three, made, [await proofOf(made, [two])])).toEqual(quorum);
    expect(await found(two_of_three, made, [await proofOf(made, [two, two])])).toEqual(quorum);
    expect(await found(two_of_three, made, [await proofOf(made, [two, stranger])])).toEqual(quorum);
    expect((await found(two_of_three, made, []))?.[0]).toBe('WITNESS_PROOF_MISSING');
    // The proof may be newer than the bundle's own.
    await build(server, key);
    expect(await found(two_of_three, made, [await proofOf(made, [one, two])])).toBeUndefined();
  });

  test('of this very entry', async () => {
    const made = await build(server, key);
    const next = await build(server, key, {
      claims: { ...claimsOf(), fileManifest: { digest: other, files: 1 } },
    });
    const policyOfOne = await wants(1);
    expect(await found(policyOfOne, made, [await proofOf(made, [one])])).toBeUndefined();
    const { bundle } = made;
    const { refusal } = await judge(bundle, policyOfOne, [await proofOf(next, [one])]);
    expect(refusal?.code).toBe('LOG_PROOF_MISMATCH');
  });

  test('and finds the real proof among others that somebody attached', async () => {
    const made = await build(server, key);
    const proofs = [utf8('junk'), await proofOf(made, [stranger]), await proofOf(made, [one, two])];
    expect(await found(await wants(2), made, proofs)).toBeUndefined();
    const large = new Uint8Array(50_000);
    const { refusal } = await judge(made.bundle, await wants(2), [large]);
    expect(refusal?.code).toBe('WITNESS_PROOF_SHAPE');
  });

  test('with keys that can make a quorum', async () => {
    const twice = { ...one, vkey: formatVerifierKey('w.example/again', COSIGNATURE_KEY, one.raw) };
    const log = await server.log();
    const bad: [Partial<ImagePolicy>, string][] = [
      [await wants(4), '/witnesses/quorum'],
      [await wants(2, [one, twice]), '/witnesses/keys'],
      [{ ...(await wants(1)), logs: policy.logs }, '/logs/0/verifierKey'],
      [
        {
          ...(await wants(1)),
          logs: policy.logs.map((one) => ({
            ...one,
            verifierKey: formatVerifierKey('elsewhere/1', 1, new Uint8Array(32).fill(9)),
          })),
        },
        '/logs/0/verifierKey',
      ],
    ];
    for (const [changes, pointer] of bad) {
      expect(() => parseImagePolicy({ ...policy, ...changes }), pointer).toThrow(
        expect.objectContaining({ code: 'IMAGE_POLICY_INVALID', pointer }),
      );
    }
    // A log's key among the witnesses would let the log vouch for itself.
    const itself = { logs: await logs(), witnesses: { quorum: 1, keys: [log.verifierKey] } };
    expect(() => parseImagePolicy({ ...policy, ...itself })).toThrow(
      expect.objectContaining({ code: 'LOG_VERIFIER_KEY' }),
    );
    parseImagePolicy({ ...policy, ...(await wants(3)) });
  });
});
