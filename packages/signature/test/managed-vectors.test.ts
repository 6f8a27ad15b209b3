import { sign } from 'node:crypto';
import { type Digest, digestOf, fromBase64, type Json, toBase64, utf8 } from '@kallio/codec';
import { type LogEntry, setPayload, verifierOf } from '@kallio/tlog';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keyHint, makeTrustedRoot, verifyBundleWithKey } from '../src/index.ts';
import { TestServer, testKey } from './support/honest.ts';
import { attestationBundle, type ManagedChanges, messageBundle } from './support/managed.ts';

/* Any maker's bundles with a managed key: one honest bundle of each kind, and each fault by itself in it. */

let server: TestServer;
let trustedRoot: Uint8Array;
const key = testKey();
const stranger = testKey();
beforeEach(async () => {
  server = new TestServer();
  trustedRoot = makeTrustedRoot([
    { publicKey: server.logKey.spki, origin: server.origin, validFrom: new Date(0) },
  ]);
  // The next entry is the fourth: its proof has two hashes, as many as that of the third.
  for (let i = 0; i < 3; i++) await attestationBundle(server, stranger, [hex]);
});
afterEach(() => server.close());

const artifact = utf8('what is released');
const digest = digestOf(artifact);
const hex = digest.slice('sha256:'.length);

const KINDS = ['hashedrekord', 'dsse'] as const;
type Kind = (typeof KINDS)[number];

function bundleOf(kind: Kind, changes: ManagedChanges = {}): Promise<Uint8Array> {
  return kind === 'dsse'
    ? attestationBundle(server, key, [hex], changes)
    : messageBundle(server, key, artifact, changes);
}

function codeOf(bundle: Uint8Array, of: Uint8Array | Digest = artifact, publicKey = key.spki) {
  try {
    verifyBundleWithKey({ bundle, publicKey, trustedRoot, artifact: of });
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

/** The log's key signs the entry's time and place anew: what a careless log would do. */
function stamped(entry: LogEntry): LogEntry {
  return {
    ...entry,
    signedEntryTimestamp: toBase64(
      new Uint8Array(sign('sha256', setPayload(entry), server.logKey.privateKey)),
    ),
  };
}

/** A change of text that must change something. */
const replaced = (from: string | RegExp, to: string): ManagedChanges => ({
  text: (honest) => {
    const bad = honest.replace(from, to);
    expect(bad).not.toBe(honest);
    return bad;
  },
});

/** A signature of other bytes by the same key: well-formed, and not of these. */
const foreign = () => toBase64(new Uint8Array(sign('sha256', utf8('other bytes'), key.privateKey)));

const spec = (leaf: Record<string, Json>) => leaf.spec as Record<string, Json>;

describe.each(KINDS)('a bundle with a managed key, logged as %s', (kind) => {
  test('is accepted for the file and for its digest, and refused for another of either', async () => {
    const bundle = await bundleOf(kind);
    expect(codeOf(bundle)).toBeUndefined();
    expect(codeOf(bundle, digest)).toBeUndefined();
    expect(codeOf(bundle, utf8('another file'))).toBe('SIGNATURE_SUBJECT_MISMATCH');
    expect(codeOf(bundle, digestOf(utf8('another file')))).toBe('SIGNATURE_SUBJECT_MISMATCH');
  });

  test('is refused with another key, and with what is no key', async () => {
    const bundle = await bundleOf(kind);
    expect(codeOf(bundle)).toBeUndefined();
    for (const of of [artifact, digest]) {
      expect(codeOf(bundle, of, stranger.spki)).toBe('SIGNATURE_INVALID');
      expect(codeOf(bundle, of, testKey('P-384').spki)).toBe('SIGNATURE_KEY_UNSUITABLE');
      expect(codeOf(bundle, of, utf8('no key'))).toBe('SIGNATURE_KEY_UNSUITABLE');
    }
  });

  test('may call its key what it likes, but not what another key is called', async () => {
    for (const hint of ['', 'release key', keyHint(key.spki)]) {
      expect(codeOf(await bundleOf(kind, { hint })), hint).toBeUndefined();
    }
    expect(codeOf(await bundleOf(kind, { hint: keyHint(stranger.spki) }))).toBe('SIGNATURE_KEY_HINT');
  });

  const faults: [string, string, () => ManagedChanges][] = [
    ['a signature of other bytes', 'SIGNATURE_INVALID', () => ({ signature: foreign })],
    [
      'a signature with s of zero',
      'SIGNATURE_ENCODING',
      () => ({ signature: () => toBase64(fromBase64('MAYCAQECAQA=')) }),
    ],
    [
      'junk in the signature’s base64',
      'BUNDLE_SHAPE',
      () => ({ signature: (honest) => `!${honest.slice(1)}` }),
    ],
    ['an unknown version', 'BUNDLE_MEDIA_TYPE', () => replaced('bundle.v0.3+json', 'bundle.v0.9+json')],
    ['version 0.1', 'BUNDLE_MEDIA_TYPE', () => replaced('bundle.v0.3+json', 'bundle+json;version=0.1')],
    [
      'a certificate in the key’s place',
      'BUNDLE_KEYLESS',
      () => replaced(/"publicKey":\{"hint":"[^"]*"\}/, '"certificate":{"rawBytes":"MAA="}'),
    ],
    ['a key twice', 'JSON_DUPLICATE_KEY', () => replaced('{', '{"mediaType":"",')],
    ['a field nobody knows', 'BUNDLE_SHAPE', () => replaced('{', '{"also":1,')],
    ['a negative place in the log', 'BUNDLE_SHAPE', () => replaced(/"logIndex":"/, '"logIndex":"-')],
    ['no log entry', 'BUNDLE_SHAPE', () => replaced(/"tlogEntries":\[.*\]/s, '"tlogEntries":[]')],
    [
      'a changed time',
      'LOG_SET_INVALID',
      () => ({ entry: (entry) => ({ ...entry, integratedTime: entry.integratedTime - 60 }) }),
    ],
    [
      'another place than the log promised',
      'LOG_SET_INVALID',
      () => ({ entry: (entry) => ({ ...entry, logIndex: entry.logIndex + 1 }) }),
    ],
    [
      'an entry of another log',
      'BUNDLE_LOG_UNTRUSTED',
      () => ({ entry: (entry) => ({ ...entry, logId: 'ab'.repeat(32) }) }),
    ],
    [
      'a proof of another place',
      'LOG_PROOF_MISMATCH',
      () => ({ entry: (entry) => proof(entry, { logIndex: entry.inclusionProof.logIndex - 1 }) }),
    ],
    [
      'a changed hash in its proof',
      'LOG_PROOF_MISMATCH',
      () => ({
        entry: (entry) =>
          proof(entry, { hashes: ['ab'.repeat(32), ...entry.inclusionProof.hashes.slice(1)] }),
      }),
    ],
    [
      'a proof cut short',
      'LOG_PROOF_MALFORMED',
      () => ({ entry: (entry) => proof(entry, { hashes: entry.inclusionProof.hashes.slice(1) }) }),
    ],
    [
      'another root than the checkpoint’s',
      'LOG_HEAD_MISMATCH',
      () => ({ entry: (entry) => proof(entry, { rootHash: 'ab'.repeat(32) }) }),
    ],
    [
      'another tree size than the checkpoint’s',
      'LOG_HEAD_MISMATCH',
      () => ({ entry: (entry) => proof(entry, { treeSize: entry.inclusionProof.treeSize + 1 }) }),
    ],
    [
      'a checkpoint that names another key of the log',
      'LOG_CHECKPOINT_SIGNATURE',
      () => ({ entry: (entry) => checkpoint(entry, (bytes) => bytes.fill(0xab, 0, 4)) }),
    ],
    [
      'a checkpoint with a signature of something else',
      'LOG_CHECKPOINT_SIGNATURE',
      () => ({
        entry: (entry) =>
          checkpoint(entry, (bytes) =>
            Buffer.concat([bytes.subarray(0, 4), sign('sha256', utf8('x'), server.logKey.privateKey)]),
          ),
      }),
    ],
    [
      'a log entry of another signature',
      'SIGNATURE_LOG_LEAF',
      () => ({
        leaf: (honest) =>
          kind === 'dsse'
            ? {
                ...honest,
                spec: { ...spec(honest), signatures: [{ ...signatureIn(honest), signature: foreign() }] },
              }
            : {
                ...honest,
                spec: { ...spec(honest), signature: { ...messageIn(honest), content: foreign() } },
              },
      }),
    ],
    [
      'a log entry of other content',
      'SIGNATURE_LOG_LEAF',
      () => ({
        leaf: (honest) => {
          const other = { algorithm: 'sha256', value: '0'.repeat(64) };
          const changed = kind === 'dsse' ? { payloadHash: other } : { data: { hash: other } };
          return { ...honest, spec: { ...spec(honest), ...changed } };
        },
      }),
    ],
    [
      'a log entry of another key',
      'SIGNATURE_LOG_LEAF',
      () => ({
        leaf: (honest) => {
          const theirs = verifierOf(stranger.spki);
          const changed =
            kind === 'dsse'
              ? { signatures: [{ ...signatureIn(honest), verifier: theirs }] }
              : { signature: { ...messageIn(honest), publicKey: { content: theirs } } };
          return { ...honest, spec: { ...spec(honest), ...changed } };
        },
      }),
    ],
    [
      'a log entry of another kind',
      'SIGNATURE_LOG_LEAF',
      () => ({ leaf: (honest) => ({ ...honest, kind: 'intoto' }) }),
    ],
  ];
  test.each(faults)('is refused with %s: %s', async (_, code, changes) => {
    const bundle = await bundleOf(kind, changes());
    expect(codeOf(bundle)).toBe(code);
    expect(codeOf(bundle, digest)).toBe(code);
    expect(codeOf(await bundleOf(kind))).toBeUndefined();
  });

  test('of 2 MiB and a byte is refused before it is read', async () => {
    const honest = await bundleOf(kind);
    const padded = (bytes: number) => Buffer.concat([honest, Buffer.alloc(bytes - honest.length, ' ')]);
    expect(codeOf(padded(2 * 1024 * 1024))).toBeUndefined();
    expect(codeOf(padded(2 * 1024 * 1024 + 1))).toBe('BUNDLE_TOO_LARGE');
  });
});

test('a careless log’s promise for another place is no proof of it', async () => {
  const moved = await messageBundle(server, key, artifact, {
    entry: (entry) => {
      const at = entry.logIndex - 1;
      return proof(stamped({ ...entry, logIndex: at }), { logIndex: at });
    },
  });
  expect(codeOf(moved)).toBe('LOG_PROOF_MISMATCH');
  const kept = await messageBundle(server, key, artifact, { entry: stamped });
  expect(codeOf(kept)).toBeUndefined();
});

test('an attestation of several files is accepted for each of them', async () => {
  const other = digestOf(utf8('another file'));
  const bundle = await attestationBundle(server, key, [hex, other.slice('sha256:'.length)]);
  expect(codeOf(bundle)).toBeUndefined();
  expect(codeOf(bundle, other)).toBeUndefined();
  expect(codeOf(await attestationBundle(server, key, [hex.toUpperCase()]))).toBe(
    'SIGNATURE_SUBJECT_MISMATCH',
  );
  expect(codeOf(await attestationBundle(server, key, []))).toBe('SIGNATURE_SUBJECT_MISMATCH');
});

test('a message signature and an envelope together, or none, are no bundle', async () => {
  const message = JSON.parse(Buffer.from(await messageBundle(server, key, artifact)).toString());
  const envelope = JSON.parse(Buffer.from(await attestationBundle(server, key, [hex])).toString());
  const both = { ...envelope, messageSignature: message.messageSignature };
  const { messageSignature: _, ...none } = message;
  for (const bad of [both, none]) expect(codeOf(utf8(JSON.stringify(bad)))).toBe('BUNDLE_SHAPE');
  for (const good of [message, envelope]) expect(codeOf(utf8(JSON.stringify(good)))).toBeUndefined();
});

function proof(entry: LogEntry, changes: Partial<LogEntry['inclusionProof']>): LogEntry {
  return { ...entry, inclusionProof: { ...entry.inclusionProof, ...changes } };
}

/** The checkpoint's one signature line, its bytes (key id, signature) changed. */
function checkpoint(entry: LogEntry, change: (bytes: Buffer) => Uint8Array): LogEntry {
  const changed = entry.inclusionProof.checkpoint.replace(
    /(— \S+ )(\S+)\n$/u,
    (_, name: string, encoded: string) =>
      `${name}${Buffer.from(change(Buffer.from(encoded, 'base64'))).toString('base64')}\n`,
  );
  expect(changed).not.toBe(entry.inclusionProof.checkpoint);
  return proof(entry, { checkpoint: changed });
}

function signatureIn(leaf: Record<string, Json>): Record<string, Json> {
  return (spec(leaf).signatures as Record<string, Json>[])[0] ?? {};
}

function messageIn(leaf: Record<string, Json>): Record<string, Json> {
  return spec(leaf).signature as Record<string, Json>;
}
