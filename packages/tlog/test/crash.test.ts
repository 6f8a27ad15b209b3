import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toBase64, utf8 } from '@kallio/codec';
import { afterEach, describe, expect, test } from 'vitest';
import { type Checkpoint, checkLog, LogWriter, logOrigin, verifyConsistency } from '../src/index.ts';
import { type CrashMode, FaultDisk } from './support/fault-disk.ts';

const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');
const keys = { p256: p256.privateKey, ed25519: ed25519.privateKey };
const publicKeys = { p256: p256.publicKey, ed25519: ed25519.publicKey };
const origin = logOrigin(
  'log.example',
  new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' })),
);
const options = { origin, keys, now: () => new Date() };

const directories: string[] = [];
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'kallio-tlog-'));
  directories.push(made);
  return made;
}
afterEach(() => {
  for (const made of directories.splice(0)) rmSync(made, { recursive: true, force: true });
});

/** The whole history of one log over crashes: what was acknowledged, and the heads that were shown. */
class History {
  readonly #indexOf = new Map<string, number>();
  readonly #heads = new Map<number, Checkpoint>();

  async add(writer: LogWriter, body: string): Promise<void> {
    const { logIndex } = await writer.add(utf8(body));
    this.acknowledge(logIndex, body);
    this.#show(writer.head);
  }

  #show(head: Checkpoint): void {
    const shown = this.#heads.get(head.size);
    if (shown !== undefined) expect(head, 'two heads of one size').toEqual(shown);
    this.#heads.set(head.size, head);
  }

  acknowledge(index: number, body: string): void {
    this.#indexOf.set(body, index);
  }

  /** Opens the log after a crash: everything acknowledged is in its place, and every head shown is a beginning. */
  async survives(path: string): Promise<void> {
    const writer = await LogWriter.open(path, options);
    expect(checkLog(path, publicKeys)).toEqual(writer.head);
    for (const [body, index] of this.#indexOf) {
      expect(writer.entry(index).body, body).toBe(toBase64(utf8(body)));
      expect((await writer.add(utf8(body))).logIndex, body).toBe(index);
    }
    for (const shown of this.#heads.values()) {
      if (shown.size === 0) continue;
      const hashes = writer.consistency(shown.size, writer.head.size);
      const { size, root } = writer.head;
      verifyConsistency({ from: shown.size, to: size, fromRoot: shown.root, toRoot: root, hashes });
    }
    this.#show(writer.head);
    await writer.close();
  }
}

describe('a crash loses nothing that was acknowledged', () => {
  for (const mode of ['kept', 'torn', 'lost'] satisfies CrashMode[]) {
    test(`at each file operation in turn (${mode})`, async () => {
      let operations = 0;
      for (let crashed = true; crashed; operations++) {
        const path = directory();
        const history = new History();
        const disk = new FaultDisk(operations, mode);
        const writer = await LogWriter.open(path, { ...options, disk }).catch(() => undefined);
        if (writer !== undefined) {
          const adds = ['one', 'two', 'three'].map((body) => history.add(writer, body));
          await Promise.allSettled(adds);
          await Promise.allSettled([history.add(writer, 'four')]);
          await writer.close();
        }
        disk.settle();
        crashed = disk.crashed;
        await history.survives(path);
        await history.survives(path);
      }
      // Fewer would mean that the crashes did not reach the end of a round.
      expect(operations).toBeGreaterThan(40);
    });
  }

  test('at a tile’s end, where levels grow', async () => {
    const start = directory();
    const filled = await LogWriter.open(start, options);
    await Promise.all(Array.from({ length: 254 }, (_, i) => filled.add(utf8(`fill ${i}`))));
    await filled.close();
    for (let operations = 12; operations < 60; operations += 2) {
      const path = directory();
      cpSync(start, path, { recursive: true });
      const history = new History();
      const disk = new FaultDisk(operations, 'torn');
      const writer = await LogWriter.open(path, { ...options, disk });
      for (const body of ['255', '256', '257']) await Promise.allSettled([history.add(writer, body)]);
      await writer.close();
      await history.survives(path);
    }
  });

  test('by kill -9 of the writing process at a random moment', async () => {
    const path = directory();
    const history = new History();
    const pem = { type: 'pkcs8', format: 'pem' } as const;
    for (let run = 0; run < 5; run++) {
      const script = fileURLToPath(new URL('./support/log-child.ts', import.meta.url));
      const secrets = [keys.p256.export(pem), keys.ed25519.export(pem)].map(String);
      const child = spawn(process.execPath, [script, path, origin, ...secrets, `run ${run}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        // Some entries in, at a moment that differs from run to run.
        if (output === '') setTimeout(() => child.kill('SIGKILL'), Math.random() * 60);
        output += text;
      });
      await new Promise((resolve) => child.on('close', resolve));
      const lines = output.split('\n').slice(0, -1);
      expect(lines.length).toBeGreaterThan(0);
      for (const line of lines) {
        const space = line.indexOf(' ');
        history.acknowledge(Number(line.slice(0, space)), line.slice(space + 1));
      }
      await history.survives(path);
    }
  });
});
