import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** A registry as Debian has it, on this machine. */
export interface DockerRegistry {
  readonly host: string;
  stop(): Promise<void>;
}

/** Starts one that keeps its files in a folder; `auth` is that part of its configuration. */
export async function startDockerRegistry(folder: string, auth?: object): Promise<DockerRegistry> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const config = join(folder, 'registry.yml');
  const said = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(folder, 'registry') } },
    http: { addr: host },
    ...(auth === undefined ? {} : { auth }),
  };
  // JSON is YAML.
  writeFileSync(config, JSON.stringify(said));
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  for (let i = 0; i < 200 && !(await answers(host)); i++) await wait(50);
  return {
    host,
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function answers(host: string): Promise<boolean> {
  return fetch(`http://${host}/v2/`).then(
    ({ status }) => status === 200 || status === 401,
    () => false,
  );
}
