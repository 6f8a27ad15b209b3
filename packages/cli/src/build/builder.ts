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
export async function runBuilder(options: BuildOptions, folder: string, layout: string): Promise<void> {
  if (options.builder !== undefined) {
    await mkdir(layout, { recursive: true });
    return run('sh', ['-c', options.builder, 'builder', options.context, ...options.flags], {
      OUT: layout,
    });
  }
  const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run')];
  const name = 'localhost/kallio-build';
  const flags = ['--isolation', 'chroot', '--tls-verify=true', ...options.flags];
  const to = `oci:${layout}:image`;
  if (options.platforms.length === 0) {
    await run('buildah', [...storage, 'bud', ...flags, '--tag', name, options.context]);
    await run('buildah', [...storage, 'push', '--quiet', name, to]);
    return;
  }
  const platforms = ['--platform', options.platforms.join(',')];
  await run('buildah', [...storage, 'bud', ...flags, ...platforms, '--manifest', name, options.context]);
  await run('buildah', [...storage, 'manifest', 'push', '--quiet', '--all', name, to]);
}

async function run(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<void> {
  const child = spawn(command, args, {
    // With --json, standard output holds the record alone: the builder speaks on standard error.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...env },
  });
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
  const [code] = (await Promise.race([once(child, 'exit'), failed])) as [number | null];
  if (code !== 0) {
    throw cliError(
      'CLI_BUILDER',
      `The builder ${command} failed (${code ?? 'killed'}); nothing was signed or pushed.`,
    );
  }
}
