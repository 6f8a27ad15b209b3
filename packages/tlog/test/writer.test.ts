import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromHex, utf8 } from '@kallio/codec';
import { afterEach, describe, expect, test } from 'vitest';
import {
  c2spOrigin,
  checkLog,
  LogWriter,
  leafHash,
  logOrigin,
  NOTE_KEY,
  parseNote,
  parseVerifierKey,
  trustedLog,
  verifyC2spCheckpoint,
  verifyConsistency,
  verifyInclusion,
  verifyLogEntry,
} from '../src/index.ts';

const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');
const keys = { p256: p256.privateKey, ed25519: ed25519.privateKey };
const publicKeys = { p256: p256.publicKey, ed25519: ed25519.publicKey };
const spki = new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' }));
const origin = logOrigin('log.example', spki);
const log = trustedLog(spki, origin);
const options = { origin, keys, now: () => new Date('2026-01-02T03:04:05Z') };

const directories: string[] = [];
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'kallio-tlog-'));
  directories.push(made);
  return made;
}
afterEach(() => {
  for (const made of directories.splice(0)) rmSync(made, { recursive: true, force: true });
});

describe('a log on disk', () => {
  test('answers with an entry that verifies offline, and is the same log when opened again', async () => {
    const path = directory();
    const writer = await LogWriter.open(path, options);
    const first = await writer.add(utf8('one'));
    verifyLogEntry(first, log);
    expect(first).toMatchObject({ logIndex: 0, integratedTime: 1767323045 });
    await writer.add(utf8('two'));
    await writer.close();

    const again = await LogWriter.open(path, options);
    expect(again.head.size).toBe(2);
    verifyLogEntry(again.entry(0), log);
    expect(again.entry(0)).toMatchObject({
      logIndex: 0,
      body: first.body,
      integratedTime: first.integratedTime,
    });
    await again.close();
    expect(checkLog(path, publicKeys).size).toBe(2);
  });

  test('adds 700 entries at once in few rounds, each with its own place and a proof', async () => {
    const path = directory();
    const writer = await LogWriter.open(path, options);
    const added = await Promise.all(Array.from({ length: 700 }, (_, i) => writer.add(utf8(`entry ${i}`))));
    expect(new Set(added.map((entry) => entry.logIndex)).size).toBe(700);
    for (const entry of added.slice(0, 20)) verifyLogEntry(entry, log);
    for (const index of [0, 255, 256, 511, 512, 699]) verifyLogEntry(writer.entry(index), log);
    expect(writer.tile('tile/0/000')?.length).toBe(8192);
    expect(writer.tile('tile/0/002.p/188')?.length).toBe(188 * 32);
    expect(writer.tile('tile/0/002.p/189')).toBeUndefined();
    expect(writer.tile('tile/1/000.p/2')?.length).toBe(64);
    await writer.close();
    expect(checkLog(path, publicKeys).size).toBe(700);
  });

  test('gives the same entry the same place, however often and however concurrently it is added', async () => {
    const writer = await LogWriter.open(directory(), options);
    const twice = await Promise.all([
      writer.add(utf8('same')),
      writer.add(utf8('same')),
      writer.add(utf8('other')),
    ]);
    expect(twice.map((entry) => entry.logIndex)).toEqual([0, 0, 1]);
    expect((await writer.add(utf8('same'))).logIndex).toBe(0);
    expect(writer.head.size).toBe(2);
    await writer.close();
  });

  test('proves every head from every earlier one', async () => {
    const writer = await LogWriter.open(directory(), options);
    const heads = [];
    for (let i = 0; i < 12; i++) {
      await writer.add(utf8(`entry ${i}`));
      heads.push(writer.head);
    }
    for (const from of heads) {
      for (const to of heads.filter((head) => head.size >= from.size)) {
        const hashes = writer.consistency(from.size, to.size);
        const claim = { from: from.size, to: to.size, fromRoot: from.root, toRoot: to.root, hashes };
        verifyConsistency(claim);
        if (from.size === to.size) continue;
        const forked = { ...claim, fromRoot: leafHash(utf8('fork')) };
        expect(() => verifyConsistency(forked)).toThrow(
          expect.objectContaining({ code: 'LOG_PROOF_MISMATCH' }),
        );
      }
    }
    await writer.close();
  });

  test('signs one head in two renderings', async () => {
    const writer = await LogWriter.open(directory(), options);
    const entry = await writer.add(utf8('one'));
    const key = parseVerifierKey(writer.verifierKey, NOTE_KEY);
    expect(key.raw).toEqual(
      new Uint8Array(ed25519.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)),
    );
    const head = verifyC2spCheckpoint(parseNote(writer.checkpoint('c2sp')), key);
    expect(head).toEqual({ ...writer.head, origin: c2spOrigin(origin) });
    expect(entry.inclusionProof.checkpoint).toBe(writer.checkpoint('sigstore'));
    expect(entry.inclusionProof.checkpoint).toMatch(
      /^log\.example - \d+\n1\n[^\n]{44}\n\n— log\.example [^\n]+\n$/,
    );
    verifyInclusion({
      index: 0,
      size: 1,
      leafHash: leafHash(utf8('one')),
      hashes: [],
      root: fromHex(entry.inclusionProof.rootHash),
    });
    await writer.close();
  });

  test('has one writer at a time', async () => {
    const path = directory();
    const writer = await LogWriter.open(path, options);
    await expect(LogWriter.open(path, options)).rejects.toMatchObject({ code: 'LOG_LOCKED' });
    await writer.close();
    const next = await LogWriter.open(path, options);
    await next.close();
    await expect(next.add(utf8('late'))).rejects.toMatchObject({ code: 'LOG_CLOSED' });
  });

  test('is not continued under another key or name', async () => {
    const path = directory();
    await (await LogWriter.open(path, options)).close();
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    for (const wrong of [
      { ...options, keys: { ...keys, p256: other } },
      { ...options, origin: 'log.example - 1' },
    ]) {
      await expect(LogWriter.open(path, wrong)).rejects.toMatchObject({ code: 'LOG_KEY_UNKNOWN' });
    }
    await (await LogWriter.open(path, options)).close();
  });

  test('takes entries of 1 to 65,535 bytes', async () => {
    const writer = await LogWriter.open(directory(), options);
    const large = await writer.add(new Uint8Array(65_535));
    verifyLogEntry(large, log);
    for (const size of [0, 65_536]) {
      await expect(writer.add(new Uint8Array(size))).rejects.toMatchObject({ code: 'LOG_ENTRY_SIZE' });
    }
    expect(() => writer.entry(1)).toThrow(expect.objectContaining({ code: 'LOG_ENTRY_UNKNOWN' }));
    await writer.close();
  });
});
