import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cliError } from '../output/output.ts';
import type { BuildOptions } from './build.ts';

/**
 * Runs the builder so that it leaves an OCI layout in `layout`. buildah works in storage of its own below `folder`, so
 * that a failed build leaves nothing, and no cached layer from outside the session gets into an attested image.
 */
export async function runBuilder(
  options: BuildOptions,
  folder: string,
  layout: string,
  stop: AbortSignal,
): Promise<void> {
  if (options.builder !== undefined) {
    await mkdir(layout, { recursive: true });
    const args = ['-c', options.builder, 'builder', options.context, ...options.flags];
    return run('sh', args, stop, { OUT: layout });
  }
  const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run')];
  const name = 'localhost/kallio-build';
  const flags = ['--isolation', 'chroot', '--tls-verify=true', ...options.flags];
  const to = `oci:${layout}:image`;
  if (options.platforms.length === 0) {
    await run('buildah', [...storage, 'bud', ...flags, '--tag', name, options.context], stop);
    await run('buildah', [...storage, 'push', '--quiet', name, to], stop);
    return;
  }
  const platforms = ['--platform', options.platforms.join(',')];
  await run(
    'buildah',
    [...storage, 'bud', ...flags, ...platforms, '--manifest', name, options.context],
    stop,
  );
  await run('buildah', [...storage, 'manifest', 'push', '--quiet', '--all', name, to], stop);
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

async function run(
  command: string,
  args: readonly string[],
  stop: AbortSignal,
  env: Record<string, string> = {},
): Promise<void> {
  stop.throwIfAborted();
  const child = spawn(command, args, {
    // With --json, standard output holds the record alone: the builder speaks on standard error.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...env },
    // A group of its own: what a shell has started ends with it.
    detached: true,
  });
  const pass = (signal: NodeJS.Signals) => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, signal);
  };
  const end = () => pass('SIGTERM');
  stop.addEventListener('abort', end, { once: true });
  // Ctrl-C ends the builder, and with it the build as failed: its sessions are given up, its files are removed.
  for (const signal of SIGNALS) process.on(signal, pass);
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
  const exited = Promise.race([once(child, 'exit'), failed]).finally(() => {
    stop.removeEventListener('abort', end);
    for (const signal of SIGNALS) process.off(signal, pass);
  });
  const [code] = (await exited) as [number | null];
  if (code !== 0) {
    throw cliError(
      'CLI_BUILDER',
      `The builder ${command} failed (${code ?? 'killed'}); nothing was signed or pushed.`,
    );
  }
}
