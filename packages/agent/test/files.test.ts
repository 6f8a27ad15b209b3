import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeUnfinished, writeDurably } from '../src/files.ts';

/** Writes a file in a process of its own. */
const WRITING = fileURLToPath(new URL('./support/writing.ts', import.meta.url));

let dir: string;
const file = () => join(dir, 'state.json');
const document = (n: number) => JSON.stringify({ n, filler: 'x'.repeat(1 + ((n * 7919) % 20_000)) });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-files-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('a file that is written durably', () => {
  it('holds what the last of many overlapping calls wrote, and nothing lies beside it', async () => {
    for (let round = 0; round < 20; round++) {
      const writes = Array.from({ length: 20 }, (_, i) => writeDurably(file(), document(round * 20 + i)));
      // Read at any moment: one of them, whole.
      const [first] = writes;
      await first;
      expect(() => JSON.parse(readFileSync(file(), 'utf8'))).not.toThrow();
      await Promise.all(writes);
      expect(readFileSync(file(), 'utf8')).toBe(document(round * 20 + 19));
    }
    expect(readdirSync(dir)).toEqual(['state.json']);
  });

  it('is whole when two processes write it at the same time', async () => {
    const both = ['a', 'b'].map((name) => spawn(process.execPath, [WRITING, file(), name, '200']));
    const codes = await Promise.all(both.map(async (child) => (await once(child, 'exit'))[0]));
    expect(codes).toEqual([0, 0]);
    expect(JSON.parse(readFileSync(file(), 'utf8'))).toMatchObject({
      filler: expect.stringMatching(/^(?:a{9950}|b{9950})$/),
    });
    expect(readdirSync(dir)).toEqual(['state.json']);
  });

  it('has its mode from the first moment on, and stays as it was where it can’t be replaced', async () => {
    await writeDurably(file(), 'one', 0o755);
    expect(statSync(file()).mode & 0o777).toBe(0o755);
    const folder = join(dir, 'in-the-way');
    mkdirSync(join(folder, 'full'), { recursive: true });
    const failing = writeDurably(folder, 'two');
    const after = writeDurably(file(), 'two');
    await expect(failing).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST|directory/);
    await after;
    // One that failed holds nobody up, and leaves nothing.
    await expect(writeDurably(folder, 'three')).rejects.toThrow();
    expect(readFileSync(file(), 'utf8')).toBe('two');
    expect(readdirSync(dir).sort()).toEqual(['in-the-way', 'state.json']);
  });
});

describe('what a crash left of a write', () => {
  it('is removed, and nothing else is', async () => {
    // Killed again and again in the middle of writes, until one of them was caught at it.
    const unfinished = () => readdirSync(dir).filter((name) => name !== 'state.json');
    for (let i = 0; unfinished().length === 0 && i < 50; i++) {
      const child = spawn(process.execPath, [WRITING, file(), 'x']);
      await once(child.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, 5 + i));
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      expect(readFileSync(file(), 'utf8')).toMatch(/^\{"filler":"(?:x{4000000})?"\}$/);
    }
    expect(unfinished()).toHaveLength(1);
    for (const name of ['state.json.new', 'of-somebody-else.new', `state.json.${'z'.repeat(16)}.new`]) {
      writeFileSync(join(dir, name), '');
    }
    await removeUnfinished(dir);
    expect(readdirSync(dir).sort()).toEqual(
      ['of-somebody-else.new', 'state.json', 'state.json.new', `state.json.${'z'.repeat(16)}.new`].sort(),
    );
    await removeUnfinished(join(dir, 'not-there'));
  });
});
