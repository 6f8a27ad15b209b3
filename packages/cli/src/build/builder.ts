import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { cliError } from '../output/output.ts';
import type { BuildOptions } from './build.ts';

/**
 * Runs the builder so that it leaves an OCI layout at `out`, where nothing is yet: in a folder, or in a tar archive. buildah
 * works in storage of its own below `folder`, so that a failed build leaves nothing, and no cached layer from outside the
 * session gets into an attested image.
 */
export async function runBuilder(
  options: BuildOptions,
  folder: string,
  out: string,
  stop: AbortSignal,
): Promise<void> {
  const { builder, context, flags, platforms } = options;
  // What a builder that is stopped leaves in its temporary files goes with all the rest.
  const temporary = join(folder, 'tmp');
  await mkdir(temporary);
  if (builder !== undefined) {
    const env = { TMPDIR: temporary, OUT: out, PLATFORM: platforms.join(',') };
    await run('sh', ['-c', builder, 'builder', context, ...flags], stop, env);
    return;
  }
  const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run')];
  const buildah = (...args: readonly string[]) =>
    run('buildah', [...storage, ...args], stop, { TMPDIR: temporary });
  const name = 'localhost/kallio-build';
  const bud = [
    ...['bud', '--isolation', 'chroot', '--tls-verify=true', ...flags],
    ...(platforms.length === 0 ? [] : ['--platform', platforms.join(',')]),
  ];
  const to = `oci:${out}:image`;
  if (options.index) {
    await buildah(...bud, '--manifest', name, context);
    await buildah('manifest', 'push', '--quiet', '--all', name, to);
  } else {
    await buildah(...bud, '--tag', name, context);
    await buildah('push', '--quiet', name, to);
  }
}

/** How long a builder that is stopped may take to put away what it has made, in milliseconds. */
const GRACE_MS = 5_000;
/** How long what a builder has left running may take to end. */
const REST_MS = 500;

async function run(
  command: string,
  args: readonly string[],
  stop: AbortSignal,
  env: Readonly<Record<string, string>>,
): Promise<void> {
  stop.throwIfAborted();
  const child = spawn(command, args, {
    // With --json, standard output holds the record alone: the builder speaks on standard error.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...env },
    // A group of its own: what a shell has started ends with it, and Ctrl-C reaches it through us.
    detached: true,
  });
  const end = () => void endGroup(child.pid, GRACE_MS);
  stop.addEventListener('abort', end, { once: true });
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (cause) =>
      reject(
        cliError(
          'CLI_BUILDER',
          `The builder ${command} can’t be started: ${cause.message}.`,
          'Is it installed? kallio doctor says what is missing.',
        ),
      ),
    );
  });
  try {
    const [code] = (await Promise.race([once(child, 'exit'), failed])) as [number | null];
    stop.throwIfAborted();
    if (code !== 0) {
      throw cliError(
        'CLI_BUILDER',
        `The builder ${command} failed (${code ?? 'killed'}); nothing was signed or pushed.`,
      );
    }
  } finally {
    stop.removeEventListener('abort', end);
    await endGroup(child.pid, stop.aborted ? GRACE_MS : REST_MS);
  }
}

/** Ends a group of processes and waits until none is left: gently, and after `graceMs` not. */
async function endGroup(group: number | undefined, graceMs: number): Promise<void> {
  if (group === undefined || !told(group, 'SIGTERM')) return;
  if (await gone(group, graceMs)) return;
  told(group, 'SIGKILL');
  await gone(group, REST_MS);
}

async function gone(group: number, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  while (told(group, 0)) {
    if (performance.now() > deadline) return false;
    await wait(20);
  }
  return true;
}

/** Sends a signal to a group of processes, or none (0); whether there is one that takes it. */
function told(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}
