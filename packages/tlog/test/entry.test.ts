import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toBase64, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ecdsaKeyId,
  formatNote,
  type LogEntry,
  LogWriter,
  logIdOf,
  logOrigin,
  parseNote,
  setPayload,
  signSigstoreCheckpoint,
  type TlogCode,
  trustedLog,
  verifyLogEntry,
} from '../src/index.ts';

const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' }));
const origin = logOrigin('log.example', spki);
const log = trustedLog(spki, origin);
const keys = { p256: p256.privateKey, ed25519: generateKeyPairSync('ed25519').privateKey };

let directory = '';
let entries: LogEntry[] = [];
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-tlog-'));
  const writer = await LogWriter.open(directory, { origin, keys, now: () => new Date() });
  for (let i = 0; i < 5; i++) await writer.add(utf8(`entry ${i}`));
  entries = [0, 1, 2, 3, 4].map((i) => writer.entry(i));
  await writer.close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function entry(index: number): LogEntry {
  const found = entries[index];
  if (found === undefined) throw new Error('no such entry');
  return structuredClone(found);
}

/** The log's own key signs the timestamp of whatever the entry says now. */
function stamped(changed: LogEntry): LogEntry {
  const signature = sign('sha256', setPayload(changed), p256.privateKey);
  return { ...changed, signedEntryTimestamp: toBase64(new Uint8Array(signature)) };
}

function withProof(changes: Partial<LogEntry['inclusionProof']>): LogEntry {
  const base = entry(2);
  return { ...base, inclusionProof: { ...base.inclusionProof, ...changes } };
}

/** A signature with these two integers, as they are given. */
function der(r: number[], s: number[]): string {
  const integer = (bytes: number[]) => [2, bytes.length, ...bytes];
  const body = [...integer(r), ...integer(s)];
  return toBase64(Uint8Array.of(0x30, body.length, ...body));
}

describe('an entry of a trusted log', () => {
  test('is accepted', () => {
    for (const index of entries.keys()) verifyLogEntry(entry(index), log);
  });

  const cases: [string, TlogCode, () => LogEntry][] = [
    ['is of another log', 'LOG_KEY_UNKNOWN', () => ({ ...entry(2), logId: logIdOf(utf8('other')) })],
    ['is back-dated', 'LOG_SET_INVALID', () => ({ ...entry(2), integratedTime: 1 })],
    ['has another body', 'LOG_SET_INVALID', () => ({ ...entry(2), body: entry(3).body })],
    [
      'has the timestamp of another entry',
      'LOG_SET_INVALID',
      () => ({ ...entry(2), signedEntryTimestamp: entry(3).signedEntryTimestamp }),
    ],
    ['has r = 0', 'LOG_SIGNATURE_ENCODING', () => ({ ...entry(2), signedEntryTimestamp: der([0], [1]) })],
    ['has s = 0', 'LOG_SIGNATURE_ENCODING', () => ({ ...entry(2), signedEntryTimestamp: der([1], [0]) })],
    [
      'has a padded r',
      'LOG_SIGNATURE_ENCODING',
      () => ({ ...entry(2), signedEntryTimestamp: der([0, 1], [1]) }),
    ],
    [
      'has a negative s',
      'LOG_SIGNATURE_ENCODING',
      () => ({ ...entry(2), signedEntryTimestamp: der([1], [0x80]) }),
    ],
    [
      'has an s past the order',
      'LOG_SIGNATURE_ENCODING',
      () => ({ ...entry(2), signedEntryTimestamp: der([1], [0, ...new Array(32).fill(0xff)]) }),
    ],
    ['proves another place', 'LOG_INDEX_MISMATCH', () => withProof({ logIndex: 3 })],
    [
      'is a body the tree does not hold',
      'LOG_PROOF_MISMATCH',
      () => stamped({ ...entry(2), body: toBase64(utf8('never added')) }),
    ],
    [
      'has the proof of another leaf',
      'LOG_PROOF_MISMATCH',
      () => withProof({ hashes: entry(3).inclusionProof.hashes }),
    ],
    [
      'has a truncated proof',
      'LOG_PROOF_MALFORMED',
      () => withProof({ hashes: entry(2).inclusionProof.hashes.slice(1) }),
    ],
    [
      'has an extended proof',
      'LOG_PROOF_MALFORMED',
      () => withProof({ hashes: [...entry(2).inclusionProof.hashes, 'ab'.repeat(32)] }),
    ],
    ['has a tree size other than the checkpoint’s', 'LOG_HEAD_MISMATCH', () => withProof({ treeSize: 6 })],
    [
      'has a root other than the checkpoint’s',
      'LOG_HEAD_MISMATCH',
      () => withProof({ rootHash: 'ab'.repeat(32) }),
    ],
    [
      'has a checkpoint signed by nobody known',
      'LOG_CHECKPOINT_SIGNATURE',
      () => withProof({ checkpoint: foreignCheckpoint() }),
    ],
    [
      'has a checkpoint with a second signature',
      'LOG_CHECKPOINT_SIGNATURE',
      () => withProof({ checkpoint: witnessed() }),
    ],
    [
      'has a checkpoint of another log of the same key',
      'LOG_ORIGIN_MISMATCH',
      () => withProof({ checkpoint: otherShard() }),
    ],
    [
      'has a checkpoint with an extension line',
      'LOG_CHECKPOINT_MALFORMED',
      () => withProof({ checkpoint: entry(2).inclusionProof.checkpoint.replace('\n\n', '\nmore\n\n') }),
    ],
    ['has no checkpoint', 'LOG_NOTE_MALFORMED', () => withProof({ checkpoint: '' })],
  ];
  for (const [name, code, make] of cases) {
    test(`is refused when it ${name}`, () => {
      verifyLogEntry(entry(2), log);
      expect(() => verifyLogEntry(make(), log)).toThrow(expect.objectContaining({ code }));
    });
  }

  function head() {
    const { treeSize, rootHash } = entry(2).inclusionProof;
    return { origin, size: treeSize, root: new Uint8Array(Buffer.from(rootHash, 'hex')) };
  }
  function foreignCheckpoint(): string {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return signSigstoreCheckpoint(head(), other.privateKey, spki);
  }
  function otherShard(): string {
    return signSigstoreCheckpoint({ ...head(), origin: 'log.example - 7' }, p256.privateKey, spki);
  }
  function witnessed(): string {
    const note = parseNote(entry(2).inclusionProof.checkpoint);
    const line = { name: 'witness.example', keyId: ecdsaKeyId(utf8('w')), signature: new Uint8Array(64) };
    return formatNote({ ...note, signatures: [...note.signatures, line] });
  }
});
