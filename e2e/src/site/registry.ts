import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accepts, freePort } from './ports.ts';
import { Service } from './process.ts';

/** Debian's docker-registry on a loopback port, with storage of its own. */
export class LocalRegistry {
  readonly host: string;
  readonly #service: Service;

  private constructor(host: string, service: Service) {
    this.host = host;
    this.#service = service;
  }

  static async start(dir: string, logFile: string): Promise<LocalRegistry> {
    const port = await freePort();
    const config = await writeRegistryConfig(dir, port);
    const service = await Service.start('registry', logFile, 'docker-registry', ['serve', config], () =>
      accepts(port),
    );
    return new LocalRegistry(`127.0.0.1:${port}`, service);
  }

  stop(): Promise<void> {
    return this.#service.stop();
  }
}

/** Writes the configuration of a registry on this loopback port, with storage below `dir`; gives the file. */
export async function writeRegistryConfig(dir: string, port: number): Promise<string> {
  await mkdir(dir, { recursive: true });
  const config = join(dir, 'config.yml');
  await writeFile(
    config,
    [
      'version: 0.1',
      'log: {level: warn, accesslog: {disabled: true}}',
      `storage: {filesystem: {rootdirectory: ${join(dir, 'data')}}, delete: {enabled: true}}`,
      `http: {addr: "127.0.0.1:${port}"}`,
      '',
    ].join('\n'),
  );
  return config;
}
