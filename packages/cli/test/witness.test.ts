import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@kallio/codec';
import {
  COSIGNATURE_KEY,
  cosignedBy,
  formatAddCheckpoint,
  LogWriter,
  logOrigin,
  NOTE_KEY,
  openWitnessMemory,
  parseNote,
  parseVerifierKey,
  Witness,
} from '@kallio/tlog';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeWitness, readWitness } from '../src/witness/folder.ts';
import { listen } from '../src/witness/listen.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-witness-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('signs nothing while it can’t keep what it sees, says so, and goes on answering', async () => {
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const log = await LogWriter.open(join(dir, 'log'), {
    origin: logOrigin('log.example', new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' }))),
    keys: { p256: p256.privateKey, ed25519: generateKeyPairSync('ed25519').privateKey },
    now: () => new Date(),
  });
  await log.add(utf8('an entry'));
  const folder = join(dir, 'witness');
  const { verifierKey } = await makeWitness(folder, 'w.example/1');
  const memory = openWitnessMemory(folder);
  const logs = [parseVerifierKey(log.verifierKey, NOTE_KEY)];
  const told: string[] = [];
  const listening = await listen(
    new Witness({ ...readWitness(folder), logs, memory, now: () => new Date() }),
    '127.0.0.1',
    0,
    (trouble) => told.push(trouble),
  );
  const checkpoint = log.checkpoint('c2sp');
  const ask = async () => {
    const body = formatAddCheckpoint(0, [], checkpoint);
    const answer = await fetch(`http://127.0.0.1:${listening.port}/add-checkpoint`, { method: 'POST', body });
    return { status: answer.status, text: await answer.text() };
  };
  renameSync(folder, `${folder}.away`);
  expect(await ask()).toMatchObject({ status: 500, text: expect.not.stringContaining('—') });
  expect(told).toHaveLength(1);
  renameSync(`${folder}.away`, folder);
  const { status, text } = await ask();
  expect(status).toBe(200);
  const key = parseVerifierKey(verifierKey, COSIGNATURE_KEY);
  expect(cosignedBy(parseNote(checkpoint + text), [key])).toHaveLength(1);
  await listening.close();
  await memory.close();
  await log.close();
});
