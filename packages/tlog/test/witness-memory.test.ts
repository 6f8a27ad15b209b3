import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  beginWitnessMemory,
  formatAddCheckpoint,
  LogWriter,
  logOrigin,
  NOTE_KEY,
  openWitnessMemory,
  parseVerifierKey,
  Witness,
} from '../src/index.ts';
import { type CrashMode, FaultDisk } from './support/fault-disk.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');
const own = generateKeyPairSync('ed25519');
const raw = new Uint8Array(own.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
const options = {
  origin: logOrigin('log.example', new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' }))),
  keys: { p256: p256.privateKey, ed25519: ed25519.privateKey },
  now: () => new Date(),
};

let root = '';
let made = 0;
const directory = () => join(root, String(made++));
/** Two histories of one log: the same key, other entries. */
let history: LogWriter;
let other: LogWriter;
/** Heads of the first that extend each other. */
const heads: { readonly size: number; readonly checkpoint: string }[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kallio-witness-memory-'));
  history = await LogWriter.open(directory(), options);
  other = await LogWriter.open(directory(), options);
  for (let i = 0; i < 3; i++) {
    await history.add(utf8(`entry ${i}`));
    await other.add(utf8(`another ${i}`));
    heads.push({ size: history.head.size, checkpoint: history.checkpoint('c2sp') });
  }
});
afterAll(async () => {
  await history.close();
  await other.close();
  rmSync(root, { recursive: true });
});

const log = () => parseVerifierKey(history.verifierKey, NOTE_KEY);
const witness = (memory: ReturnType<typeof openWitnessMemory>) =>
  new Witness({
    name: 'w.example/1',
    raw,
    key: own.privateKey,
    logs: [log()],
    memory,
    now: () => new Date(),
  });

/** Shows a witness one head after the other, until it answers no more; the size of the last that it signed. */
async function show(asked: Witness): Promise<number> {
  let signed = 0;
  for (const { size, checkpoint } of heads) {
    const hashes = signed === 0 ? [] : history.consistency(signed, size);
    const body = formatAddCheckpoint(signed, hashes, checkpoint);
    const answer = await asked.addCheckpoint(body).catch(() => undefined);
    if (answer?.status !== 200) return signed;
    signed = size;
  }
  return signed;
}

/** Whether the other history, which has as many entries, is signed by whoever saw `size` of the first. */
async function signsOther(asked: Witness, size: number): Promise<boolean> {
  const hashes = size === 0 || size === 3 ? [] : other.consistency(size, 3);
  const body = formatAddCheckpoint(size, hashes, other.checkpoint('c2sp'));
  return (await asked.addCheckpoint(body)).status === 200;
}

describe('what a witness has seen', () => {
  for (const mode of ['kept', 'torn', 'lost'] satisfies CrashMode[]) {
    test(`is kept over a crash at each file operation, so that no other history is signed (${mode})`, async () => {
      let operations = 0;
      for (let crashed = true; crashed; operations++) {
        const dir = directory();
        await beginWitnessMemory(dir);
        const disk = new FaultDisk(operations, mode);
        const before = openWitnessMemory(dir, disk);
        const signed = await show(witness(before));
        await before.close();
        disk.settle();
        crashed = disk.crashed;
        const after = openWitnessMemory(dir);
        const seen = after.seen(log().name)?.size ?? 0;
        expect(seen).toBeGreaterThanOrEqual(signed);
        // What was kept and not signed binds as well.
        expect(await signsOther(witness(after), seen)).toBe(seen === 0);
        await after.close();
      }
      expect(operations).toBeGreaterThan(10);
    });
  }

  test('is held by one process at a time, and goes from one to the next', async () => {
    const dir = directory();
    await beginWitnessMemory(dir);
    const first = openWitnessMemory(dir);
    expect(await show(witness(first))).toBe(3);
    expect(() => openWitnessMemory(dir)).toThrow(code('LOG_LOCKED'));
    await first.close();
    const second = openWitnessMemory(dir);
    expect(await signsOther(witness(second), 0)).toBe(false);
    expect(await signsOther(witness(second), 3)).toBe(false);
    await second.close();
  });

  test('is nothing to begin without: a lost or unreadable memory is refused, and none is made anew', async () => {
    const dir = directory();
    await beginWitnessMemory(dir);
    await expect(beginWitnessMemory(dir)).rejects.toThrow(code('WITNESS_MEMORY'));
    const memory = openWitnessMemory(dir);
    expect(await show(witness(memory))).toBe(3);
    await memory.close();
    writeFileSync(join(dir, 'seen'), 'log.example/1\n3\n');
    expect(() => openWitnessMemory(dir)).toThrow(code('LOG_CHECKPOINT_MALFORMED'));
    rmSync(join(dir, 'seen'));
    expect(() => openWitnessMemory(dir)).toThrow(code('WITNESS_MEMORY'));
  });
});
