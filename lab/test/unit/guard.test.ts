import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '@kallio/e2e/process';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Daemon } from '../../src/machine/daemon.ts';

const GUARD = new URL('../../src/machine/guard.ts', import.meta.url).href;
const DAEMON = new URL('../../src/machine/daemon.ts', import.meta.url).href;

/** A process that guards a folder, starts a daemon in it, says so, and waits. */
const OWNER = `
import { guard } from ${JSON.stringify(GUARD)};
import { Daemon } from ${JSON.stringify(DAEMON)};
const dir = process.argv[1];
if (process.argv[2] === 'guarded') guard(dir);
await new Daemon('sleeper', dir).start('sleep', ['300'], () => true);
console.log('ready');
setInterval(() => {}, 1000);
`;

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kallio-guard-'));
});
afterEach(async () => {
  await new Daemon('sleeper', dir).stop('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

/** One that has ended and that nobody has asked for yet has no command line any more. */
function isRunning(pid: number | undefined): boolean {
  const file = `/proc/${pid}/cmdline`;
  return existsSync(file) && readFileSync(file).length > 0;
}

async function killedOwner(kind: 'guarded' | 'unguarded'): Promise<void> {
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', OWNER, dir, kind], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(owner.stdout, 'data');
  owner.kill('SIGKILL');
  await once(owner, 'exit');
}

it('a daemon outlives the process that started it', async () => {
  await killedOwner('unguarded');
  expect(new Daemon('sleeper', dir).running).toBe(true);
});

it('of a guarded folder nothing is left when its owner was killed', async () => {
  await killedOwner('guarded');
  const { pid } = new Daemon('sleeper', dir);
  await until('the folder to be gone', 20, async () => (existsSync(dir) ? undefined : true));
  expect(pid).toBeDefined();
  expect(isRunning(pid)).toBe(false);
});

it('a process is left alone that has the number of one that is named there, and is another', async () => {
  const other = spawn('sleep', ['300'], { stdio: 'ignore' });
  try {
    await writeFile(join(dir, 'other.pid'), `${other.pid} 1`);
    await killedOwner('guarded');
    await until('the folder to be gone', 20, async () => (existsSync(dir) ? undefined : true));
    expect(other.exitCode).toBeNull();
    expect(isRunning(other.pid)).toBe(true);
  } finally {
    other.kill('SIGKILL');
  }
});
