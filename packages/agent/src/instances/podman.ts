import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isLoopback } from '@kallio/oci';
import type { AgentConfig } from '../config.ts';
import { agentError } from '../error.ts';

const execute = promisify(execFile);
const TIMEOUT_MS = 300_000;

type AgentDevice = NonNullable<AgentConfig['device']>;

/** What an instance is started with. */
export interface RunOptions {
  readonly name: string;
  readonly instance: string;
  /** `registry/repository@sha256:…`. */
  readonly image: string;
  readonly ports: readonly number[];
  readonly address: string;
  readonly limits: { readonly memoryMiB: number; readonly cpus: number };
}

/** The engine of a device: podman, told to take the runtime shim for its runtime. */
export class Podman {
  readonly #command: string;
  readonly #global: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #storage: AgentDevice['storage'];

  constructor(device: AgentDevice, runtime: string) {
    this.#command = device.podman ?? 'podman';
    this.#storage = device.storage;
    this.#global = [
      ...(device.storage === undefined
        ? []
        : ['--root', device.storage.root, '--runroot', device.storage.runRoot]),
      ...['--runtime', runtime],
    ];
    this.#env = {
      ...process.env,
      ...(device.containersConf === undefined ? {} : { CONTAINERS_CONF: device.containersConf }),
    };
  }

  /**
   * Folders of the storage: where root file systems and the containers' own files lie. Those that podman is told are
   * those that it uses; only where it is told none is it asked, which takes a slow machine seconds.
   */
  async folders(): Promise<{ readonly root: string; readonly runRoot: string }> {
    if (this.#storage !== undefined) return this.#storage;
    const info: unknown = JSON.parse(
      await this.#run(
        'info',
        '--format',
        '{"root":{{json .Store.GraphRoot}},"runRoot":{{json .Store.RunRoot}}}',
      ),
    );
    if (typeof info === 'object' && info !== null && 'root' in info && 'runRoot' in info) {
      return { root: String(info.root), runRoot: String(info.runRoot) };
    }
    throw agentError('RUNTIME_FAILED', 'podman does not say where its storage is.');
  }

  /** Pulls by digest; the engine checks every layer against it. */
  async pull(image: string): Promise<void> {
    const registry = image.split('/', 1)[0] ?? '';
    await this.#run('pull', '--quiet', `--tls-verify=${!isLoopback(registry)}`, image);
  }

  /** Starts a container from an image that is there, and gives its id. */
  async run(options: RunOptions): Promise<string> {
    const { name, instance, image, ports, address, limits } = options;
    const out = await this.#run(
      ...[
        'run',
        '--detach',
        '--pull',
        'never',
        '--name',
        name,
        '--annotation',
        `kallio.instance=${instance}`,
      ],
      // The signed image's users are its users: podman adds none.
      ...['--passwd=false'],
      ...['--restart', 'no', '--memory', `${limits.memoryMiB}m`, '--cpus', String(limits.cpus)],
      ...ports.flatMap((port) => ['--publish', `${address}::${port}`]),
      image,
    );
    return out.trim();
  }

  /** Where a port of a container is published: `host:port`. */
  async published(container: string, port: number): Promise<string | undefined> {
    const out = await this.#run('port', container, `${port}/tcp`);
    return out.trim().split('\n')[0];
  }

  /** Stops and removes a container; it is no error if there is none. */
  async remove(container: string): Promise<void> {
    await this.#run('rm', '--force', '--ignore', '--time', '5', container);
  }

  async #run(...args: string[]): Promise<string> {
    try {
      const { stdout } = await execute(this.#command, [...this.#global, ...args], {
        env: this.#env,
        timeout: TIMEOUT_MS,
        maxBuffer: 4 * 1024 * 1024,
      });
      return stdout;
    } catch (cause) {
      const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
      throw agentError(
        'RUNTIME_FAILED',
        `podman ${args[0]} failed: ${stderr.split('\n').slice(-3).join(' ').slice(0, 1024)}`,
        {
          cause,
        },
      );
    }
  }
}
