import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Debian's package of the same name. */
const REGISTRY = 'docker-registry';

export const hasRegistry = spawnSync(REGISTRY, ['--version']).status === 0;

/** Debian's docker-registry on a port of this machine, with an empty store of its own. */
export class TestRegistry {
  readonly host: string;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(host: string, process: ChildProcess, directory: string) {
    this.host = host;
    this.#process = process;
    this.#directory = directory;
  }

  static async start(): Promise<TestRegistry> {
    const directory = mkdtempSync(join(tmpdir(), 'kallio-registry-'));
    const host = `127.0.0.1:${await freePort()}`;
    const config = join(directory, 'config.yml');
    const lines = [
      'version: 0.1',
      'log: {level: error, accesslog: {disabled: true}}',
      `storage: {filesystem: {rootdirectory: ${join(directory, 'data')}}}`,
      `http: {addr: "${host}"}`,
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const process = spawn(REGISTRY, ['serve', config], { stdio: 'ignore' });
    const registry = new TestRegistry(host, process, directory);
    for (let tries = 0; tries < 200; tries++) {
      const up = await fetch(`http://${host}/v2/`).then(
        (answer) => answer.ok,
        () => false,
      );
      if (up) return registry;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await registry.stop();
    throw new Error('the registry did not start');
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    if (this.#process.exitCode === null) {
      this.#process.kill();
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
