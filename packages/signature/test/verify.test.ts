import { sign } from 'node:crypto';
import { digestOf, fromBase64, fromUtf8, parseJson, toBase64, utf8 } from '@kallio/codec';
import { configClaims, indexClaims } from '@kallio/oci';
import { type LogEntry, rekorDsseBody, setPayload } from '@kallio/tlog';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type ImagePolicy,
  type ImageVerdict,
  keyHint,
  makeEnvelope,
  verifyImageSignature,
} from '../src/index.ts';
import { issuePlainEar } from './support/ear.ts';
import {
  build,
  type Changes,
  claimsOf,
  configBytes,
  dsseSign,
  manifestDigest,
  TestServer,
  testKey,
} from './support/honest.ts';

const server = new TestServer();
const key = testKey();
afterAll(() => server.close());

const policy = server.policy();
const otherImage = digestOf(utf8('another image'));

function judge(bundle: Uint8Array, changes: Partial<Parameters<typeof verifyImageSignature>[0]> = {}) {
  return verifyImageSignature({ bundle, manifestDigest, configBytes, policy, now: new Date(), ...changes });
}

const codeOf = (verdict: ImageVerdict) => verdict.refusal?.code;

async function honest() {
  const made = await build(server, key);
  expect(codeOf(await judge(made.bundle))).toBeUndefined();
  return made;
}

/** The log's key signs the entry's time and place anew: what a careless log would do. */
function stamped(entry: LogEntry): LogEntry {
  const signature = sign('sha256', setPayload(entry), server.logKey.privateKey);
  return { ...entry, signedEntryTimestamp: toBase64(new Uint8Array(signature)) };
}

/** The change, which must change something. */
const really = (change: (text: string) => string) => (text: string) => {
  const bad = change(text);
  expect(bad).not.toBe(text);
  return bad;
};

const replace = (from: string, to: string) => (text: string) => {
  expect(text).toContain(from);
  return text.replace(from, to);
};

describe('an honest image signature', () => {
  test('is accepted, and the verdict tells every step', async () => {
    const { bundle, entry } = await build(server, key);
    const verdict = await judge(bundle);
    expect(verdict).toMatchObject({
      ok: true,
      builder: 'build-1',
      tier: 'C',
      session: 'session-0001',
      claims: claimsOf(),
      logIndex: entry.logIndex,
      fileManifestDigest: digestOf(utf8('the file manifest')),
    });
    expect(verdict.steps.map(({ step, ok }) => `${step} ${ok}`)).toEqual(
      [
        'bundle',
        'subject',
        'key',
        'signature',
        'log-leaf',
        'log-proof',
        'statement',
        'image-config',
        'result',
        'session',
        'policy',
      ].map((step) => `${step} true`),
    );
  });

  test('is accepted long after its attestation result lapsed, because it was logged while that held', async () => {
    const { bundle } = await build(server, key);
    const now = new Date(Date.now() + 10 * 365 * 86_400_000);
    expect(codeOf(await judge(bundle, { now }))).toBeUndefined();
    const strict = { ...policy, maxAgeSeconds: 86_400 };
    expect(codeOf(await judge(bundle, { policy: strict }))).toBeUndefined();
    expect(codeOf(await judge(bundle, { now, policy: strict }))).toBe('POLICY_AGE');
  });

  test('has an age by the log’s time, to the second, and a clock may be 300 s behind the log’s', async () => {
    const { bundle, entry } = await build(server, key);
    const strict: ImagePolicy = { ...policy, maxAgeSeconds: 86_400 };
    const after = async (seconds: number, by = strict) =>
      codeOf(await judge(bundle, { now: new Date((entry.integratedTime + seconds) * 1000), policy: by }));
    expect([await after(86_400), await after(86_400.001)]).toEqual([undefined, 'POLICY_AGE']);
    expect([await after(-300), await after(-300.001)]).toEqual([undefined, 'POLICY_AGE']);
    // Without a greatest age nobody's clock is asked.
    expect([await after(-300.001, policy), await after(10 * 86_400, policy)]).toEqual([undefined, undefined]);
  });

  test('may come so long after its session as the policy says, to the second', async () => {
    const issuedAt = new Date(Date.now() - 300_000);
    const { bundle, entry } = await build(server, key, { issuedAt });
    const waited = entry.integratedTime - Math.floor(issuedAt.getTime() / 1000);
    const within = async (maxResultAgeSeconds: number) =>
      codeOf(await judge(bundle, { policy: { ...policy, maxResultAgeSeconds } }));
    expect([await within(waited), await within(waited - 1)]).toEqual([undefined, 'POLICY_RESULT_AGE']);
  });

  test('is of a server that names policy and chain of the session in its result, or of an older one', async () => {
    const digest = digestOf(utf8('a policy, a head'));
    const made = async (session: Changes['session'] = {}) =>
      codeOf(await judge((await build(server, key, { session })).bundle));
    expect([await made(), await made({ policy: digest, head: digest })]).toEqual([undefined, undefined]);
    expect(await made({ head: 'sha256:none' })).toBe('EAR_MALFORMED');
    expect(await made({ policy: digest.toUpperCase() })).toBe('EAR_MALFORMED');
  });

  test('may name its key in the envelope, by the same hint', async () => {
    const keyid = (id: string): Changes => ({
      envelope: (made) => ({ ...made, signatures: made.signatures.map(({ sig }) => ({ sig, keyid: id })) }),
    });
    expect(codeOf(await judge((await build(server, key, keyid(keyHint(key.spki)))).bundle))).toBeUndefined();
    expect(codeOf(await judge((await build(server, key, keyid('mine'))).bundle))).toBe('SIGNATURE_KEY_HINT');
  });
});

describe('a signature that does not hold', () => {
  const anew = (text: string) =>
    toBase64(new Uint8Array(sign('sha256', utf8(text), server.logKey.privateKey)));
  const elsewhere = { policy: { ...policy, builders: ['build-2'] } };

  // Each is well-formed and of the right key, or of one of the same name; it is of something else.
  test.each<[string, string, () => Promise<Changes>]>([
    [
      'signature',
      'SIGNATURE_INVALID',
      async () => ({
        envelope: (made) => ({ ...made, signatures: [{ sig: toBase64(dsseSign(utf8('{}'), key)) }] }),
      }),
    ],
    [
      'log-proof',
      'LOG_SET_INVALID',
      async () => ({ entry: (made) => ({ ...made, signedEntryTimestamp: anew('{}') }) }),
    ],
    [
      'log-proof',
      'LOG_CHECKPOINT_SIGNATURE',
      async () => {
        const [, line] = (await build(server, key)).entry.inclusionProof.checkpoint.split('\n\n');
        return {
          entry: ({ inclusionProof, ...made }) => {
            const [text] = inclusionProof.checkpoint.split('\n\n');
            return { ...made, inclusionProof: { ...inclusionProof, checkpoint: `${text}\n\n${line}` } };
          },
        };
      },
    ],
    ['result', 'EAR_SIGNATURE', async () => ({ earKey: testKey() })],
  ])('is refused in its step %s, whatever else is wrong: %s', async (step, code, changes) => {
    const { bundle } = await honest();
    expect(codeOf(await judge(bundle, elsewhere))).toBe('POLICY_BUILDER');
    const bad = await build(server, key, await changes());
    const verdict = await judge(bad.bundle, elsewhere);
    expect(codeOf(verdict)).toBe(code);
    expect(verdict.steps.at(-1)).toMatchObject({ step, ok: false });
    // As it is where nothing else is wrong.
    expect(await judge(bad.bundle)).toEqual(verdict);
  });
});

describe('a bundle that is written in another way', () => {
  test('is judged alike', async () => {
    const { bundle } = await honest();
    const spaced = utf8(JSON.stringify(JSON.parse(fromUtf8(bundle)), null, 2));
    expect(await judge(spaced)).toEqual(await judge(bundle));
    const changes = { manifestDigest: otherImage };
    expect(await judge(spaced, changes)).toEqual(await judge(bundle, changes));
  });
});

describe('a signature is refused', () => {
  test('when it was moved to another image', async () => {
    const { bundle } = await honest();
    const verdict = await judge(bundle, { manifestDigest: otherImage });
    expect(verdict).toMatchObject({ ok: false, refusal: { code: 'SIGNATURE_SUBJECT_MISMATCH' } });
    expect(verdict.steps.at(-1)).toMatchObject({ step: 'subject', ok: false });
  });

  test('when its statement was rewritten for another image', async () => {
    await honest();
    const { envelope, entry } = await build(server, key);
    const forged = utf8(
      fromUtf8(fromBase64(envelope.payload)).replace(manifestDigest.slice(7), otherImage.slice(7)),
    );
    const bundle = utf8(
      fromUtf8((await build(server, key)).bundle).replace(
        /"payload":"[^"]+"/,
        `"payload":"${toBase64(forged)}"`,
      ),
    );
    expect(entry.logIndex).toBeGreaterThan(0);
    expect(codeOf(await judge(bundle, { manifestDigest: otherImage }))).toBe('SIGNATURE_INVALID');
  });

  // What an attacker without the signing key can do to the bundle.
  const bundles: [string, string, (text: string) => string][] = [
    ['media type v0.2', 'BUNDLE_MEDIA_TYPE', replace('bundle.v0.3+json', 'bundle.v0.2+json')],
    ['media type v0.4', 'BUNDLE_MEDIA_TYPE', replace('bundle.v0.3+json', 'bundle.v0.4+json')],
    ['media type v0.1', 'BUNDLE_MEDIA_TYPE', replace('bundle.v0.3+json', 'bundle+json;version=0.1')],
    ['a key twice', 'JSON_DUPLICATE_KEY', replace('{"dsseEnvelope"', '{"mediaType":"x","dsseEnvelope"')],
    ['a field nobody knows', 'BUNDLE_SHAPE', replace('{"dsseEnvelope"', '{"also":1,"dsseEnvelope"')],
    ['bytes after the end', 'JSON_SYNTAX', (text) => `${text}{}`],
    ['another payload type', 'BUNDLE_PAYLOAD_TYPE', replace('application/vnd.in-toto+json', 'text/plain')],
    [
      'two signatures',
      'BUNDLE_SIGNATURE_COUNT',
      (text) => text.replace(/("signatures":\[)(\{[^}]*\})/, '$1$2,$2'),
    ],
    [
      'no signature',
      'BUNDLE_SIGNATURE_COUNT',
      (text) => text.replace(/"signatures":\[\{[^}]*\}\]/, '"signatures":[]'),
    ],
    ['no log entry', 'BUNDLE_LOG_ENTRY_COUNT', (text) => changed(text, (entries) => entries.slice(1))],
    [
      'its log entry twice',
      'BUNDLE_LOG_ENTRY_COUNT',
      (text) => changed(text, (entries) => [...entries, ...entries]),
    ],
    [
      'a log entry of another kind',
      'BUNDLE_LOG_ENTRY_KIND',
      replace('"kind":"dsse"', '"kind":"hashedrekord"'),
    ],
    [
      'a number in a second spelling',
      'BUNDLE_SHAPE',
      (text) => text.replace(/"treeSize":"/, '"treeSize":"0'),
    ],
    ['junk in base64', 'BUNDLE_SHAPE', (text) => text.replace(/"payload":"/, '"payload":"!')],
    ['unpadded base64', 'CODEC_BASE64', (text) => text.replace(/("sig":"[^"=]+)=+"/, '$1"')],
    [
      'stray bits in base64',
      'CODEC_BASE64',
      (text) =>
        text.replace(
          /("sig":"[^"=]+)([A-Za-z0-9])(=+")/,
          // The next letter of the alphabet has the lowest bit set, which padding says is none of the content's.
          (_, before: string, last: string, padding: string) =>
            before + String.fromCharCode(last.charCodeAt(0) + 1) + padding,
        ),
    ],
    [
      'a key hint that is none',
      'SIGNATURE_KEY_HINT',
      (text) => text.replace(/"hint":"SHA256:./, '"hint":"SHA256:?'),
    ],
  ];
  for (const [name, code, change] of bundles) {
    test(`for a bundle with ${name}`, async () => {
      // DER of random length: look for a signature whose base64 is padded, as two of these cases need one.
      let made = await honest();
      while (!/"sig":"[^"]+==?"/.test(fromUtf8(made.bundle))) made = await honest();
      const text = fromUtf8(made.bundle);
      expect(codeOf(await judge(utf8(really(change)(text))))).toBe(code);
    });
  }

  test('for a bundle of 186 MB, before anything is read', async () => {
    await honest();
    expect(codeOf(await judge(new Uint8Array(186_000_000)))).toBe('BUNDLE_TOO_LARGE');
  });

  // What the holder of a key that a build host's session vouches for could sign.
  const statements: [string, string, (text: string) => string][] = [
    [
      'a _type that is not in-toto',
      'STATEMENT_TYPE',
      replace('in-toto.io/Statement/v1', 'in-toto.io/Statement/v0'),
    ],
    [
      'another predicate type',
      'STATEMENT_PREDICATE_TYPE',
      replace('image-signature/v1', 'image-signature/v2'),
    ],
    [
      'two subjects',
      'STATEMENT_SUBJECT_COUNT',
      (text) => text.replace(/"subject":\[(.*)\]\}$/, '"subject":[$1,$1]}'),
    ],
    ['no subject', 'STATEMENT_SUBJECT_COUNT', (text) => text.replace(/"subject":\[.*\]\}$/, '"subject":[]}')],
    [
      'an upper-case digest',
      'STATEMENT_SUBJECT_DIGEST',
      (text) => text.replace(manifestDigest.slice(7), manifestDigest.slice(7).toUpperCase()),
    ],
    [
      'a short digest',
      'STATEMENT_SUBJECT_DIGEST',
      (text) => text.replace(manifestDigest.slice(7), manifestDigest.slice(9)),
    ],
    [
      'a digest of another algorithm',
      'STATEMENT_SUBJECT_DIGEST',
      replace('"digest":{"sha256":', '"digest":{"sha512":'),
    ],
    [
      'a second digest',
      'STATEMENT_SUBJECT_DIGEST',
      replace('"digest":{"sha256":', '"digest":{"sha1":"00","sha256":'),
    ],
    [
      'a digest that is no text',
      'STATEMENT_SUBJECT_DIGEST',
      (text) => text.replace(`"${manifestDigest.slice(7)}"}`, '{"a":1}}'),
    ],
    ['a key twice', 'JSON_DUPLICATE_KEY', replace('{"_type"', '{"_type":"x","_type"')],
    ['an unknown field', 'STATEMENT_SHAPE', replace('"predicate":{', '"predicate":{"alsoTrue":1,')],
    ['white space', 'STATEMENT_NOT_CANONICAL', replace('{"_type"', '{ "_type"')],
    [
      'a key order of its own',
      'STATEMENT_NOT_CANONICAL',
      (text) => text.replace(/^\{("_type":"[^"]+"),(.*)\}$/s, '{$2,$1}'),
    ],
  ];
  for (const [name, code, change] of statements) {
    test(`for a statement with ${name}`, async () => {
      await honest();
      const { bundle } = await build(server, key, { payload: really(change) });
      expect(codeOf(await judge(bundle))).toBe(code);
    });
  }

  test('when its hint is of another key, which whoever looks keys up by it would take', async () => {
    const { bundle } = await honest();
    const other = testKey();
    const text = replace(keyHint(key.spki), keyHint(other.spki))(fromUtf8(bundle));
    expect(codeOf(await judge(utf8(text)))).toBe('SIGNATURE_KEY_HINT');
    // The other way round: the other key's leaf and signature under the hint of this one.
    const theirs = await build(server, other);
    expect(codeOf(await judge(theirs.bundle))).toBeUndefined();
    const shown = replace(keyHint(other.spki), keyHint(key.spki))(fromUtf8(theirs.bundle));
    expect(codeOf(await judge(utf8(shown)))).toBe('SIGNATURE_KEY_HINT');
    // Colliding: the beginning of a hint is no hint.
    const cut = replace(keyHint(key.spki), keyHint(key.spki).slice(0, -1))(fromUtf8(bundle));
    expect(codeOf(await judge(utf8(cut)))).toBe('SIGNATURE_KEY_HINT');
  });

  test('when another key signed it', async () => {
    await honest();
    const other = testKey();
    const { bundle } = await build(server, key, {
      envelope: (made) => makeEnvelope(fromBase64(made.payload), dsseSign(fromBase64(made.payload), other)),
    });
    expect(codeOf(await judge(bundle))).toBe('SIGNATURE_INVALID');
  });

  test('when it was made over another payload type', async () => {
    await honest();
    const { bundle } = await build(server, key, {
      envelope: (made) =>
        makeEnvelope(fromBase64(made.payload), dsseSign(fromBase64(made.payload), key, 'text/plain')),
    });
    expect(codeOf(await judge(bundle))).toBe('SIGNATURE_INVALID');
  });

  test('when r or s is zero, or not in its one DER form', async () => {
    await honest();
    for (const der of ['3006020100020101', '3006020101020100', '300702020001020101', '3006020101020180']) {
      const { bundle } = await build(server, key, {
        envelope: (made) => makeEnvelope(fromBase64(made.payload), new Uint8Array(Buffer.from(der, 'hex'))),
      });
      expect(codeOf(await judge(bundle)), der).toBe('SIGNATURE_ENCODING');
    }
  });

  test('when s was negated: the same statement and key, but not the signature that was logged', async () => {
    const { bundle, envelope } = await honest();
    const [signature] = envelope.signatures;
    const malleated = toBase64(negateS(fromBase64(signature?.sig ?? '')));
    const text = replace(`"sig":"${signature?.sig}"`, `"sig":"${malleated}"`)(fromUtf8(bundle));
    expect(codeOf(await judge(utf8(text)))).toBe('SIGNATURE_LOG_LEAF');
  });

  test('when the key is on P-384', async () => {
    await honest();
    const p384 = testKey('P-384');
    const { bundle } = await build(server, key, {
      entry: (entry) => ({
        ...entry,
        body: toBase64(rekorDsseBody(makeEnvelope(utf8('{}'), new Uint8Array(8)), p384.spki)),
      }),
    });
    expect(codeOf(await judge(bundle))).toBe('SIGNATURE_KEY_UNSUITABLE');
  });

  test('when the log entry is of another signature', async () => {
    const first = await honest();
    const { bundle } = await build(server, key, { entry: () => first.entry });
    expect(codeOf(await judge(bundle))).toBe('SIGNATURE_LOG_LEAF');
  });

  test('when the proof is of another leaf', async () => {
    const other = await build(server, key, { claims: claimsOf(otherImage) });
    const log = await server.log();
    const { bundle } = await build(server, key, {
      entry: (entry) => {
        const theirs = log.entry(other.entry.logIndex).inclusionProof;
        return proof(entry, { ...theirs, logIndex: entry.logIndex });
      },
    });
    expect(codeOf(await judge((await honest()).bundle))).toBeUndefined();
    expect(codeOf(await judge(bundle))).toMatch(/^LOG_PROOF_(MISMATCH|MALFORMED)$/);
    // The other leaf itself, where this one should stand: its place, its proof, all in order.
    const swapped = await build(server, key, {
      entry: (entry) => stamped({ ...log.entry(other.entry.logIndex), body: entry.body }),
    });
    expect(codeOf(await judge(swapped.bundle))).toBe('LOG_PROOF_MISMATCH');
  });

  test('when what was signed was no in-toto statement, and is shown as one', async () => {
    const { payload } = await honest();
    const swapped = makeEnvelope(payload, dsseSign(payload, key, 'text/plain'));
    const { bundle } = await build(server, key, { envelope: () => swapped });
    expect(codeOf(await judge(bundle))).toBe('SIGNATURE_INVALID');
  });

  test('when the log is another one, or of another name', async () => {
    const { bundle } = await honest();
    const other = new TestServer();
    const { logs } = other.policy();
    expect(codeOf(await judge(bundle, { policy: { ...policy, logs } }))).toBe('LOG_KEY_UNKNOWN');
    // The honest twin: that log, and the one that this signature stands in.
    const both = { ...policy, logs: [...logs, ...policy.logs] };
    expect(codeOf(await judge(bundle, { policy: both }))).toBeUndefined();
    const renamed = { ...policy, logs: policy.logs.map((log) => ({ ...log, origin: 'log.example - 1' })) };
    expect(codeOf(await judge(bundle, { policy: renamed }))).toBe('LOG_ORIGIN_MISMATCH');
    await other.close();
  });

  const entries: [string, string, (entry: LogEntry) => LogEntry][] = [
    [
      'a changed time',
      'LOG_SET_INVALID',
      (entry) => ({ ...entry, integratedTime: entry.integratedTime - 60 }),
    ],
    ['a changed place', 'LOG_SET_INVALID', (entry) => ({ ...entry, logIndex: entry.logIndex + 1 })],
    [
      'a place other than its proof’s',
      'LOG_INDEX_MISMATCH',
      (entry) => stamped({ ...entry, logIndex: entry.logIndex + 1 }),
    ],
    [
      'a truncated proof',
      'LOG_PROOF_MALFORMED',
      (entry) => proof(entry, { hashes: entry.inclusionProof.hashes.slice(1) }),
    ],
    [
      'an extended proof',
      'LOG_PROOF_MALFORMED',
      (entry) => proof(entry, { hashes: [...entry.inclusionProof.hashes, 'ab'.repeat(32)] }),
    ],
    [
      'a tree size other than the checkpoint’s',
      'LOG_HEAD_MISMATCH',
      (entry) => proof(entry, { treeSize: entry.inclusionProof.treeSize + 1 }),
    ],
    [
      'a root other than the checkpoint’s',
      'LOG_HEAD_MISMATCH',
      (entry) => proof(entry, { rootHash: 'ab'.repeat(32) }),
    ],
  ];
  for (const [name, code, change] of entries) {
    test(`for a log entry with ${name}`, async () => {
      await honest();
      const { bundle } = await build(server, key, { entry: change });
      expect(codeOf(await judge(bundle))).toBe(code);
    });
  }

  test('when the image’s configuration is not the signed one', async () => {
    const { bundle } = await honest();
    const changed = utf8(fromUtf8(configBytes).replace('"User":"1000"', '"User":"0"'));
    expect(codeOf(await judge(bundle, { configBytes: changed }))).toBe('SIGNATURE_IMAGE_CONFIG');
  });

  test('when it is of an index, and says that it holds files', async () => {
    const index = {
      mediaType: 'application/vnd.oci.image.index.v1+json',
      bytes: utf8(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: 'application/vnd.oci.image.index.v1+json',
          manifests: [
            {
              mediaType: 'application/vnd.oci.image.manifest.v1+json',
              digest: manifestDigest,
              size: 2,
              platform: { os: 'linux', architecture: 'amd64' },
            },
          ],
        }),
      ),
    };
    const signed = async (files: number) => {
      const { subject, fileManifest } = claimsOf(digestOf(index.bytes));
      const image = indexClaims(index.bytes, index.mediaType);
      const claims = { subject, image, fileManifest: { ...fileManifest, files } };
      const { bundle } = await build(server, key, { claims });
      const input = { bundle, manifestDigest: subject.digest, index, policy, now: new Date() };
      return codeOf(await verifyImageSignature(input));
    };
    expect(await signed(0)).toBeUndefined();
    expect(await signed(1)).toBe('IMAGE_FILE_MANIFEST');
  });

  test('when the image is for another platform than the policy’s', async () => {
    const { bundle } = await honest();
    const wants = (platform: string): ImagePolicy => ({ ...policy, platform });
    expect(codeOf(await judge(bundle, { policy: wants('linux/amd64') }))).toBeUndefined();
    expect(codeOf(await judge(bundle, { policy: wants('linux/arm64') }))).toBe('SIGNATURE_PLATFORM');
  });

  test('when the image is for another processor than the policy’s has', async () => {
    const config = (changes: object) =>
      utf8(JSON.stringify({ ...JSON.parse(fromUtf8(configBytes)), architecture: 'arm', ...changes }));
    const judged = async (configBytes: Uint8Array, platform: string) => {
      const { bundle } = await build(server, key, {
        claims: { ...claimsOf(), image: configClaims(parseJson(configBytes)) },
      });
      return codeOf(await judge(bundle, { configBytes, policy: { ...policy, platform } }));
    };
    const [v7, v6] = [config({ variant: 'v7' }), config({ variant: 'v6' })];
    expect(await judged(v7, 'linux/arm/v6')).toBe('SIGNATURE_PLATFORM');
    expect(await judged(v7, 'linux/arm/v7')).toBeUndefined();
    expect(await judged(v6, 'linux/arm/v7')).toBeUndefined();
    // Without a variant, it is the usual one: v7.
    expect(await judged(config({}), 'linux/arm/v6')).toBe('SIGNATURE_PLATFORM');
    expect(await judged(config({}), 'linux/arm')).toBeUndefined();
  });

  const sessions: [string, string, Changes][] = [
    ['closed on another image', 'SIGNATURE_RESULT_SUBJECT', { session: { subject: otherImage } }],
    ['closed on other claims', 'SIGNATURE_RESULT_STATEMENT', { session: { statement: otherImage } }],
    ['vouches for another key', 'SIGNATURE_RESULT_KEY', { session: { signingKey: otherImage } }],
    [
      'is of another name than the statement says',
      'SIGNATURE_RESULT_MISMATCH',
      { environment: { session: 'session-0002' } },
    ],
    [
      'had another builder than the statement says',
      'SIGNATURE_RESULT_MISMATCH',
      { environment: { builder: 'build-2' } },
    ],
    [
      'was of another tier than the statement says',
      'SIGNATURE_RESULT_MISMATCH',
      { environment: { tier: 'A' } },
    ],
    [
      'ran in another boot than the statement says',
      'SIGNATURE_RESULT_MISMATCH',
      { environment: { boot: 8 } },
    ],
    [
      'saw other evidence than the statement says',
      'SIGNATURE_RESULT_MISMATCH',
      { environment: { evidence: [otherImage, otherImage] } },
    ],
    ['ran on a builder the policy does not allow', 'POLICY_BUILDER', { session: { builder: 'build-2' } }],
    ['ran on a tier the policy does not allow', 'POLICY_TIER', { session: { tier: 'B' } }],
  ];
  for (const [name, code, change] of sessions) {
    test(`when the session ${name}`, async () => {
      await honest();
      const { bundle } = await build(server, key, change);
      expect(codeOf(await judge(bundle))).toBe(code);
    });
  }

  test('when the result is of another key or issuer, had lapsed before the logging, or is of no session', async () => {
    const { bundle } = await honest();
    const made = async (changes: Changes) => codeOf(await judge((await build(server, key, changes)).bundle));
    expect(await made({ earKey: testKey() })).toBe('EAR_SIGNATURE');
    expect(await made({ issuedAt: new Date(Date.now() - 86_400_000) })).toBe('EAR_EXPIRED');
    expect(await made({ issuedAt: new Date(Date.now() + 86_400_000) })).toBe('EAR_NOT_YET_VALID');
    expect(await made({ ear: await issuePlainEar(server.earKey) })).toBe('SIGNATURE_RESULT_KIND');
    const issuer = 'https://other.example';
    expect(codeOf(await judge(bundle, { policy: { ...policy, issuer } }))).toBe('EAR_ISSUER');
  });

  test('when the image was signed for a key that no session vouches for', async () => {
    await honest();
    const { bundle } = await build(server, testKey(), { session: { signingKey: digestOf(key.spki) } });
    expect(codeOf(await judge(bundle))).toBe('SIGNATURE_RESULT_KEY');
  });
});

function proof(entry: LogEntry, changes: Partial<LogEntry['inclusionProof']>): LogEntry {
  return { ...entry, inclusionProof: { ...entry.inclusionProof, ...changes } };
}

function changed(text: string, change: (entries: unknown[]) => unknown[]): string {
  const bundle = JSON.parse(text);
  bundle.verificationMaterial.tlogEntries = change(bundle.verificationMaterial.tlogEntries);
  expect(parseJson(text)).toBeDefined();
  return JSON.stringify(bundle);
}

/** (r, s) to (r, n - s): holds for the same message and key, made without the key. */
function negateS(der: Uint8Array): Uint8Array {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const rLength = der[3] ?? 0;
  const s = BigInt(`0x${Buffer.from(der.subarray(6 + rLength)).toString('hex')}`);
  let hex = (order - s).toString(16);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  if (Number.parseInt(hex.slice(0, 2), 16) >= 0x80) hex = `00${hex}`;
  const negated = Buffer.from(hex, 'hex');
  const body = Buffer.concat([der.subarray(2, 4 + rLength), Uint8Array.of(2, negated.length), negated]);
  return new Uint8Array(Buffer.concat([Uint8Array.of(0x30, body.length), body]));
}
