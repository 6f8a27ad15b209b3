import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeDurably } from '../files.ts';

const SHIM = fileURLToPath(new URL('./kallio-runc', import.meta.url));

/**
 * Puts the shim and a wrapper that configures it into the state folder, and gives the wrapper's path: what the engine
 * is to take for its OCI runtime.
 */
export async function installShim(stateDir: string, socket: string, runtime: string): Promise<string> {
  const shim = join(stateDir, 'kallio-runc');
  // Never half there, nor for a moment without its mode: an engine may be starting something.
  await writeDurably(shim, await readFile(SHIM), 0o755);
  const wrapper = join(stateDir, 'runtime');
  await writeDurably(
    wrapper,
    [
      '#!/bin/sh',
      '# Written by the trust agent: the OCI runtime of this device.',
      `KALLIO_SOCKET=${quoted(socket)} KALLIO_RUNTIME=${quoted(runtime)} exec ${quoted(shim)} "$@"`,
      '',
    ].join('\n'),
    0o755,
  );
  return wrapper;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
