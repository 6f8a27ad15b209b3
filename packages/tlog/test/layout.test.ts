import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  checkLog,
  formatNote,
  keyIdOf,
  LogWriter,
  logOrigin,
  NOTE_KEY,
  parseNote,
  parseTilePath,
  tilePath,
} from '../src/index.ts';

describe('paths of tiles (C2SP tlog-tiles)', () => {
  test('are spelled in groups of three digits', () => {
    expect(tilePath({ kind: 0, index: 1234067, width: 256 })).toBe('tile/0/x001/x234/067');
    expect(tilePath({ kind: 'entries', index: 0, width: 3 })).toBe('tile/entries/000.p/3');
    expect(parseTilePath('tile/2/x001/000.p/255')).toEqual({ kind: 2, index: 1000, width: 255 });
  });

  test('have one spelling, and never leave the log', () => {
    for (const path of [
      'tile/0/0',
      'tile/00/000',
      'tile/64/000',
      'tile/0/x000/000',
      'tile/0/001/000',
      'tile/0/000.p/0',
      'tile/0/000.p/256',
      'tile/0/000.p/007',
      'tile/entries/../../head',
      '/tile/0/000',
      `tile/0/${'x001/'.repeat(30)}000`,
    ]) {
      expect(() => parseTilePath(path), path).toThrow(expect.objectContaining({ code: 'LOG_TILE_PATH' }));
    }
  });
});

describe('signed notes', () => {
  // The example in the documentation of golang.org/x/mod/sumdb/note.
  const verifierKey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
  const text =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
  const note = `${text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`;

  test('have the key ids, lines and texts that Go’s have', () => {
    const [name = '', keyId, encoded = ''] = verifierKey.split('+');
    const key = new Uint8Array(Buffer.from(encoded, 'base64').subarray(1));
    expect(toHex(keyIdOf(name, NOTE_KEY, key))).toBe(keyId);
    const parsed = parseNote(note);
    expect(parsed).toMatchObject({ text, signatures: [{ name, keyId: keyIdOf(name, NOTE_KEY, key) }] });
    expect(formatNote(parsed)).toBe(note);
  });

  test('are refused where a reader could see another text than was signed', () => {
    parseNote(note);
    for (const bad of [
      text,
      `${text}\n`,
      note.trimEnd(),
      note.replace('\n\n', '\n'),
      note.replace('If you', 'If\tyou'),
      note.replace('PeterNeumann', 'Peter+Neumann'),
      note.replace('—', '-'),
      note.replace('x08go', '    '),
    ]) {
      expect(() => parseNote(bad), bad).toThrow(expect.objectContaining({ code: 'LOG_NOTE_MALFORMED' }));
    }
  });
});

describe('a log’s check', () => {
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ed25519 = generateKeyPairSync('ed25519');
  const keys = { p256: p256.privateKey, ed25519: ed25519.privateKey };
  const publicKeys = { p256: p256.publicKey, ed25519: ed25519.publicKey };
  const origin = logOrigin(
    'log.example',
    new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' })),
  );
  const options = { origin, keys, now: () => new Date() };
  let root = '';
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'kallio-tlog-'));
    const writer = await LogWriter.open(join(root, 'log'), options);
    await Promise.all(Array.from({ length: 300 }, (_, i) => writer.add(utf8(`entry ${i}`))));
    await writer.close();
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  for (const file of [
    'tile/entries/000',
    'tile/entries/001',
    'tile/0/000',
    'tile/0/001',
    'tile/1/000',
    'times/000',
    'head',
    'checkpoint',
    'checkpoint.sigstore',
  ]) {
    test(`finds one changed bit in ${file}`, () => {
      const path = join(root, `changed-${file.replaceAll('/', '-')}`);
      cpSync(join(root, 'log'), path, { recursive: true });
      expect(checkLog(path, publicKeys).size).toBe(300);
      const bytes = readFileSync(join(path, file));
      // Times are bound by their order alone: the first one must come to stand after the second.
      const at = file === 'times/000' ? 0 : bytes.length - 3;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      writeFileSync(join(path, file), bytes);
      expect(() => checkLog(path, publicKeys)).toThrow();
    });
  }

  test('and the writer refuse a directory that was set back to an earlier head', async () => {
    const path = join(root, 'set-back');
    cpSync(join(root, 'log'), path, { recursive: true });
    const before = readFileSync(join(path, 'head'));
    const writer = await LogWriter.open(path, options);
    await writer.add(utf8('one more'));
    await writer.close();
    checkLog(path, publicKeys);
    writeFileSync(join(path, 'head'), before);
    expect(() => checkLog(path)).toThrow(expect.objectContaining({ code: 'LOG_CORRUPT' }));
    await expect(LogWriter.open(path, options)).rejects.toMatchObject({ code: 'LOG_CORRUPT' });
  });

  test('and the writer refuse a directory that lost its head', async () => {
    const path = join(root, 'headless');
    cpSync(join(root, 'log'), path, { recursive: true });
    rmSync(join(path, 'head'));
    expect(() => checkLog(path)).toThrow(expect.objectContaining({ code: 'LOG_CORRUPT' }));
    await expect(LogWriter.open(path, options)).rejects.toMatchObject({ code: 'LOG_CORRUPT' });
  });
});
