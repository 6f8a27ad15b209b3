import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concat, fromBase64, toBase64, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  COSIGNATURE_KEY,
  cosign,
  cosignedBy,
  formatAddCheckpoint,
  formatNote,
  formatTlogProof,
  formatVerifierKey,
  LogWriter,
  leafHash,
  logOrigin,
  NOTE_KEY,
  parseNote,
  parseTlogProof,
  parseVerifierKey,
  type Seen,
  signC2spCheckpoint,
  verifyTlogProof,
  Witness,
} from '../src/index.ts';

const code = (c: string) => expect.objectContaining({ code: c });

/** A witness's key pair, as its verifier key too. */
function key(name: string) {
  const pair = generateKeyPairSync('ed25519');
  const raw = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
  return {
    name,
    raw,
    key: pair.privateKey,
    verifier: parseVerifierKey(formatVerifierKey(name, COSIGNATURE_KEY, raw), COSIGNATURE_KEY),
  };
}

const one = key('witness.example/1');
const two = key('witness.example/2');
const stranger = key('witness.example/stranger');
const witnesses = [one.verifier, two.verifier];

const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' }));
const options = () => ({
  origin: logOrigin('log.example', spki),
  keys: { p256: p256.privateKey, ed25519: ed25519.privateKey },
  now: () => new Date(),
});
const ed25519 = generateKeyPairSync('ed25519');

let directory = '';
let log: LogWriter;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kallio-witness-'));
  log = await LogWriter.open(join(directory, 'log'), options());
  for (let i = 0; i < 5; i++) await log.add(utf8(`entry ${i}`));
});
afterAll(async () => {
  await log.close();
  rmSync(directory, { recursive: true });
});

const logKey = () => parseVerifierKey(log.verifierKey, NOTE_KEY);

/** A proof of entry 2 with these lines under its head, beside the log's own. */
function proof(...lines: string[]) {
  const checkpoint = log.checkpoint('c2sp') + lines.join('');
  return formatTlogProof({ index: 2, hashes: log.inclusion(2, log.head.size), checkpoint });
}
const text = () => parseNote(log.checkpoint('c2sp')).text;
const verified = (given: string, leaf = 'entry 2') =>
  verifyTlogProof(parseTlogProof(given), leafHash(utf8(leaf)), { log: logKey(), witnesses });

describe('a verifier key', () => {
  test('is read as Go writes it, and of the wanted type only', () => {
    // The example in the documentation of golang.org/x/mod/sumdb/note.
    const vkey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(parseVerifierKey(vkey, NOTE_KEY).name).toBe('PeterNeumann');
    for (const bad of [
      vkey.replace('PeterNeumann', 'PeterNewmann'),
      vkey.replace('c74f20a3', 'c74f20a4'),
      vkey.replace('ARpc', 'ARpd'),
      vkey.slice(0, -4),
      'PeterNeumann+c74f20a3',
    ]) {
      expect(() => parseVerifierKey(bad, NOTE_KEY), bad).toThrow();
    }
    expect(() => parseVerifierKey(vkey, COSIGNATURE_KEY)).toThrow(code('LOG_VERIFIER_KEY'));
  });

  test('of a witness has the key id of the specification’s formula, which is not that of a log', () => {
    expect(one.verifier.keyId).not.toEqual(
      parseVerifierKey(formatVerifierKey(one.name, NOTE_KEY, one.raw), NOTE_KEY).keyId,
    );
  });
});

describe('a cosigned proof', () => {
  test('says which witnesses signed the head, and when', () => {
    const found = verified(proof(cosign(text(), one, 1_700_000_000), cosign(text(), two, 1_700_000_100)));
    expect(found.cosigned.map(({ witness, time }) => [witness.name, time])).toEqual([
      [one.name, 1_700_000_000],
      [two.name, 1_700_000_100],
    ]);
    expect(found).toMatchObject({ index: 2, head: { size: 5 } });
  });

  test('passes over lines of others, and counts a witness once', () => {
    const lines = [cosign(text(), stranger, 1), cosign(text(), one, 10), cosign(text(), one, 20)];
    const found = verified(proof(...lines));
    expect(found.cosigned.map(({ witness, time }) => [witness.name, time])).toEqual([[one.name, 20]]);
  });

  test('is refused with a cosignature over another head, of another time, or by another key', () => {
    const honest = cosign(text(), one, 1_700_000_000);
    expect(verified(proof(honest)).cosigned).toHaveLength(1);
    const other = text().replace('\n5\n', '\n6\n');
    expect(() => verified(proof(cosign(other, one, 1_700_000_000)))).toThrow(code('LOG_COSIGNATURE'));
    const [, encoded = ''] = /(\S+)\n$/.exec(honest) ?? [];
    const bytes = fromBase64(encoded);
    const later = bytes.slice();
    later[11] = (later[11] ?? 0) ^ 1;
    const line = (b: Uint8Array) => `— ${one.name} ${toBase64(b)}\n`;
    expect(() => verified(proof(line(later)))).toThrow(code('LOG_COSIGNATURE'));
    expect(() => verified(proof(line(bytes.slice(0, -1))))).toThrow(code('LOG_COSIGNATURE'));
    // The stranger's signature under the name and key id of a witness.
    const forged = fromBase64(/(\S+)\n$/.exec(cosign(text(), stranger, 5))?.[1] ?? '');
    expect(() => verified(proof(line(concat(one.verifier.keyId, forged.slice(4)))))).toThrow(
      code('LOG_COSIGNATURE'),
    );
    // A time of 2^63 and more, which the specification forbids.
    expect(() =>
      verified(proof(line(concat(bytes.slice(0, 4), new Uint8Array(8).fill(255), bytes.slice(12))))),
    ).toThrow(code('LOG_COSIGNATURE'));
  });

  test('is refused for another leaf, another place, another log, or without the log’s own signature', () => {
    const line = cosign(text(), one, 1);
    expect(verified(proof(line)).index).toBe(2);
    expect(() => verified(proof(line), 'entry 3')).toThrow(code('LOG_PROOF_MISMATCH'));
    expect(() => verified(proof(line).replace('index 2', 'index 3'))).toThrow(code('LOG_PROOF_MISMATCH'));
    expect(() => verified(proof(line).replace('index 2', 'index 7'))).toThrow(code('LOG_PROOF_MALFORMED'));
    const unsigned = parseNote(log.checkpoint('c2sp') + line);
    const without = { ...unsigned, signatures: unsigned.signatures.slice(1) };
    const of = (checkpoint: string) => formatTlogProof({ index: 2, hashes: log.inclusion(2, 5), checkpoint });
    expect(() => verified(of(formatNote(without)))).toThrow(code('LOG_CHECKPOINT_SIGNATURE'));
    const foreign = { log: { ...logKey(), name: 'other.example/1' }, witnesses };
    expect(() => verifyTlogProof(parseTlogProof(proof(line)), leafHash(utf8('entry 2')), foreign)).toThrow(
      code('LOG_ORIGIN_MISMATCH'),
    );
  });

  test('is refused as a document that is no proof', () => {
    const good = proof();
    expect(parseTlogProof(good).index).toBe(2);
    const bad: [string, string][] = [
      [good.replace('@v1', '@v2'), 'LOG_PROOF_MALFORMED'],
      [good.replace('index 2', 'index 02'), 'LOG_PROOF_MALFORMED'],
      [good.replace('index 2', 'extra YQ==\nindex 2'), 'LOG_PROOF_MALFORMED'],
      [good.replace('index 2\n', `index 2\n${toBase64(new Uint8Array(31))}\n`), 'LOG_PROOF_MALFORMED'],
      [
        good.replace('index 2\n', `index 2\n${`${toBase64(new Uint8Array(32))}\n`.repeat(64)}`),
        'LOG_PROOF_MALFORMED',
      ],
      [`${good}${'x'.repeat(41_000)}`, 'LOG_PROOF_MALFORMED'],
      ['', 'LOG_PROOF_MALFORMED'],
    ];
    for (const [text, c] of bad) expect(() => parseTlogProof(text), text.slice(0, 60)).toThrow(code(c));
  });
});

describe('a witness', () => {
  function witness() {
    const kept = new Map<string, Seen>();
    const made = new Witness({
      ...one,
      logs: [logKey()],
      memory: {
        seen: (origin) => kept.get(origin),
        keep: async (origin, head) => {
          kept.set(origin, head);
        },
      },
      now: () => new Date(1_700_000_000_000),
    });
    return { made, kept };
  }

  test('signs a head that extends what it saw, and says where it is when asked from elsewhere', async () => {
    const { made } = witness();
    const first = log.checkpoint('c2sp');
    const size = log.head.size;
    const answer = await made.addCheckpoint(formatAddCheckpoint(0, [], first));
    expect(answer.status).toBe(200);
    expect(cosignedBy(parseNote(first + answer.body), witnesses)).toMatchObject([{ time: 1_700_000_000 }]);

    await log.add(utf8('one more'));
    const next = log.checkpoint('c2sp');
    expect(await made.addCheckpoint(formatAddCheckpoint(0, [], next))).toMatchObject({
      status: 409,
      type: 'text/x.tlog.size',
      body: `${size}\n`,
    });
    const hashes = log.consistency(size, log.head.size);
    expect((await made.addCheckpoint(formatAddCheckpoint(size, hashes, next))).status).toBe(200);
    // The same head again, as after an answer that got lost.
    const again = formatAddCheckpoint(log.head.size, [], next);
    expect((await made.addCheckpoint(again)).status).toBe(200);
  });

  test('signs the empty tree, and what begins with it', async () => {
    const { made } = witness();
    const young = await LogWriter.open(join(directory, 'young'), options());
    const status = async (...asked: Parameters<typeof formatAddCheckpoint>) =>
      (await made.addCheckpoint(formatAddCheckpoint(...asked))).status;
    const empty = young.checkpoint('c2sp');
    const other = { ...young.head, root: new Uint8Array(32) };
    const raw = new Uint8Array(ed25519.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
    expect(await status(0, [], signC2spCheckpoint(other, ed25519.privateKey, raw))).toBe(422);
    expect(await status(0, [], empty)).toBe(200);
    expect(await status(0, [], empty)).toBe(200);
    await young.add(utf8('the first'));
    expect(await status(0, [new Uint8Array(32)], young.checkpoint('c2sp'))).toBe(422);
    expect(await status(0, [], young.checkpoint('c2sp'))).toBe(200);
    expect(await status(0, [], empty)).toBe(409);
    await young.close();
  });

  test('does not sign a fork, a smaller head, a head of a log it does not know, or one nobody signed', async () => {
    const { made, kept } = witness();
    const [origin = ''] = text().split('\n');
    const fork = await LogWriter.open(join(directory, 'fork'), options());
    await fork.add(utf8('another first entry'));
    const small = fork.checkpoint('c2sp');
    expect((await made.addCheckpoint(formatAddCheckpoint(0, [], log.checkpoint('c2sp')))).status).toBe(200);
    const seen = kept.get(origin);
    const { size } = log.head;
    while (fork.head.size < size) await fork.add(utf8(`forked ${fork.head.size}`));
    const sameSize = fork.checkpoint('c2sp');
    await fork.add(utf8('and one'));
    const larger = fork.checkpoint('c2sp');
    const status = async (body: string) => (await made.addCheckpoint(body)).status;
    expect(await status(formatAddCheckpoint(size, [], small))).toBe(400);
    expect(await status(formatAddCheckpoint(1, [], small))).toBe(409);
    expect(await status(formatAddCheckpoint(size, [], sameSize))).toBe(409);
    expect(await status(formatAddCheckpoint(size, fork.consistency(size, fork.head.size), larger))).toBe(422);
    await fork.close();
    const note = parseNote(log.checkpoint('c2sp'));
    const renamed = formatNote({ ...note, text: note.text.replace('log.example', 'log2.example') });
    expect(await status(formatAddCheckpoint(size, [], renamed))).toBe(404);
    const altered = formatNote({ ...note, text: note.text.replace(`\n${size}\n`, `\n${size + 1}\n`) });
    expect(await status(formatAddCheckpoint(size, [], altered))).toBe(403);
    expect(await status('old x\n\nnothing')).toBe(400);
    expect(kept.get(origin)).toBe(seen);
  });

  test('takes two requests one after the other, so that the smaller head can’t roll the larger one back', async () => {
    const { made, kept } = witness();
    const before = log.checkpoint('c2sp');
    await log.add(utf8(`entry ${log.head.size}`));
    const after = log.checkpoint('c2sp');
    const answers = await Promise.all([
      made.addCheckpoint(formatAddCheckpoint(0, [], after)),
      made.addCheckpoint(formatAddCheckpoint(0, [], before)),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 409]);
    expect([...kept.values()].map(({ size }) => size)).toEqual([log.head.size]);
  });
});
