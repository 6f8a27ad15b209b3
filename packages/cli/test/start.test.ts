import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';

/* A checkout of its own, with the same dependencies, in which sources change between starts of `kallio`. */

// Each makes bundles: a second of two processors, and a while where others use them.
vi.setConfig({ testTimeout: 120_000 });

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const PROGRAM = 'packages/cli/src/program.ts';
let checkout: string;
const at = (...path: string[]) => join(checkout, ...path);
const cache = () => at('node_modules/.cache/kallio');
const bundles = () => readdirSync(cache()).filter((name) => /^[0-9a-f]{64}/.test(name));
const current = () => readFileSync(join(cache(), 'current'), 'utf8').split('\n')[0];

beforeAll(() => {
  checkout = mkdtempSync(join(tmpdir(), 'kallio-checkout-'));
  for (const name of readdirSync(join(PROJECT, 'packages'))) {
    for (const part of ['src', 'bin', 'package.json']) {
      const from = join(PROJECT, 'packages', name, part);
      if (statSync(from, { throwIfNoEntry: false }))
        cpSync(from, at('packages', name, part), { recursive: true });
    }
  }
  cpSync(join(PROJECT, 'package-lock.json'), at('package-lock.json'));
  cpSync(join(PROJECT, 'package.json'), at('package.json'));
  mkdirSync(at('node_modules/@kallio'), { recursive: true });
  for (const name of readdirSync(join(PROJECT, 'node_modules'))) {
    if (name.startsWith('.') || name === '@kallio') continue;
    symlinkSync(realpathSync(join(PROJECT, 'node_modules', name)), at('node_modules', name));
  }
  for (const name of readdirSync(at('packages')))
    symlinkSync(at('packages', name), at('node_modules/@kallio', name));
});
afterAll(() => rmSync(checkout, { recursive: true, force: true }));

const BIN = 'packages/cli/bin/kallio.cjs';

/** The version, as a start of the command prints it. */
const version = () => said(BIN, '--version');

/** What a start of the command prints. */
async function said(program: string, ...args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [at(program), ...args]);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => (text += String(piece)));
  await once(child, 'close');
  return text.trim();
}

/** Writes another version into the sources, of the same length, and lets the file look as if nobody had. */
function edit(from: string, to: string): void {
  const { atime, mtime } = statSync(at(PROGRAM));
  const text = readFileSync(at(PROGRAM), 'utf8');
  expect(text).toContain(`'${from}'`);
  writeFileSync(at(PROGRAM), text.replace(`'${from}'`, `'${to}'`));
  utimesSync(at(PROGRAM), atime, mtime);
}

/** Until what was written is no longer new: then the state of the files is remembered. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 1200));

beforeEach(() => rmSync(cache(), { recursive: true, force: true }));

it('makes the bundle once, also when many start at once', async () => {
  await settle();
  const said = await Promise.all(Array.from({ length: 3 }, version));
  expect(new Set(said)).toEqual(new Set(['0.1.0']));
  expect(bundles()).toEqual([current()]);
  const { ino, mtimeMs } = statSync(join(cache(), bundles()[0] ?? ''));
  expect(await version()).toBe('0.1.0');
  expect(statSync(join(cache(), bundles()[0] ?? ''))).toMatchObject({ ino, mtimeMs });
});

it('never starts a bundle of other sources than there are', async () => {
  expect(await version()).toBe('0.1.0');
  await settle();
  expect(await version()).toBe('0.1.0');
  const [first] = bundles();
  expect(current()).toBe(first);
  edit('0.1.0', '0.2.0');
  expect(await version()).toBe('0.2.0');
  // Twice within a moment: the second change may leave the times of the first.
  edit('0.2.0', '0.3.0');
  expect(await version()).toBe('0.3.0');
  edit('0.3.0', '0.1.0');
  expect(await version()).toBe('0.1.0');
  // The sources of before are the bundle of before.
  expect(bundles()).toHaveLength(3);
  await settle();
  await version();
  expect(current()).toBe(first);
});

it('is the same command as its sources, to the last sign', async () => {
  for (const args of [
    ['--help'],
    ['policy', 'image', '--help'],
    ['verify'],
    ['policy', 'schema', '--image'],
  ]) {
    const text = await said('packages/cli/src/main.ts', ...args);
    expect(await said(BIN, ...args)).toBe(text);
    expect(text).not.toBe('');
  }
  expect(await said(BIN, 'policy', 'image', '--help')).toContain('this server’s keys');
});

it('starts the sources where there is no bundler', async () => {
  rmSync(at('node_modules/rolldown'));
  expect(await version()).toBe('0.1.0');
  expect(bundles()).toEqual([]);
  symlinkSync(realpathSync(join(PROJECT, 'node_modules/rolldown')), at('node_modules/rolldown'));
  expect(await version()).toBe('0.1.0');
  expect(bundles()).toHaveLength(1);
});

it('tells why sources can’t be bundled, and starts nothing older', async () => {
  await settle();
  expect(await version()).toBe('0.1.0');
  const text = readFileSync(at(PROGRAM), 'utf8');
  writeFileSync(at(PROGRAM), `${text}\nimport './nothing.ts';\n`);
  expect(await version()).toContain('nothing.ts');
  writeFileSync(at(PROGRAM), text);
  expect(await version()).toBe('0.1.0');
});
