import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kallio, kallioCommand, mustKallio, type Outcome } from './kallio.ts';
import { Machine } from './machine.ts';
import { accepts, freePort } from './ports.ts';
import { must, Service } from './process.ts';
import { LocalRegistry } from './registry.ts';
import { TpmMaker } from './tpm.ts';

const EXAMPLE = fileURLToPath(new URL('../../../examples/sensor-gateway/', import.meta.url));

/** Settings of a server, by section. */
type ServerSettings = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Seconds between two evidence messages of a machine: short, so that nobody waits long for what is found. */
const INTERVAL_SECONDS = 5;

/**
 * A whole edge site on one machine: a server, a registry, a TPM maker, a build host and two devices, each a process
 * (or two) of its own. What one machine can't show is said: the devices share a kernel, so each looks only at its own
 * storage; the TPMs are software, so everything is tier C.
 */
export class Site {
  readonly dir: string;
  readonly maker: TpmMaker;
  readonly builder: Machine;
  readonly devices: readonly [Machine, Machine];
  #server: Service | undefined;
  #registry: LocalRegistry | undefined;
  #port = 0;
  /** Holds once the maker's certificates are there: with the first TPM that it makes. */
  readonly #makerKnown = Promise.withResolvers<void>();

  private constructor(dir: string, maker: TpmMaker) {
    this.dir = dir;
    this.maker = maker;
    const machine = (name: string, kind: 'builder' | 'device') => new Machine(name, kind, join(dir, name));
    this.builder = machine('build-1', 'builder');
    this.devices = [machine('cabinet-1', 'device'), machine('cabinet-2', 'device')];
  }

  static async create(): Promise<Site> {
    // Short, because a UNIX socket's path is at most 107 bytes.
    const dir = await mkdtemp(join(tmpdir(), 'kallio-'));
    return new Site(dir, await TpmMaker.create(join(dir, 'maker')));
  }

  get machines(): readonly Machine[] {
    return [this.builder, ...this.devices];
  }

  get serverUrl(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  get ca(): string {
    return join(this.dir, 'server', 'ca.pem');
  }

  get tokenFile(): string {
    return join(this.dir, 'admin-token');
  }

  get imagePolicy(): string {
    return join(this.dir, 'image-policy.json');
  }

  /** The sample application's descriptor. */
  get appDescriptor(): string {
    return join(EXAMPLE, 'appd.json');
  }

  /** `host:port` of the registry. */
  get registry(): string {
    if (this.#registry === undefined) throw new Error('the registry is not up');
    return this.#registry.host;
  }

  /** The environment in which `kallio` reaches this site's server as its operator. */
  get operator(): Readonly<Record<string, string>> {
    return { KALLIO_SERVER: this.serverUrl, KALLIO_CA: this.ca, KALLIO_TOKEN_FILE: this.tokenFile };
  }

  /** A `kallio` command as the operator; how it ended. */
  try(...args: string[]): Promise<Outcome> {
    return kallio(args, this.operator);
  }

  /** A `kallio` command as the operator, which must succeed. */
  run(...args: string[]): Promise<unknown> {
    return mustKallio(args, this.operator);
  }

  /** Builds the sample application on the build host. */
  async build(image: string): Promise<unknown> {
    const context = await this.applicationContext('application');
    return this.run('build', '-t', image, context, '--agent', this.builder.socket);
  }

  /** Asks an instance over HTTP: its ports are published on this machine. */
  async ask(
    { address }: { readonly address: string },
    path: string,
    body?: string,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const answer = await fetch(`${address}${path}`, body === undefined ? {} : { method: 'POST', body });
    return { status: answer.status, text: await answer.text() };
  }

  async startRegistry(): Promise<void> {
    this.#registry = await LocalRegistry.start(join(this.dir, 'registry'), join(this.dir, 'registry.log'));
  }

  /** Makes the TPMs of these machines, powers them on. */
  async makeTpms(machines: readonly Machine[] = this.machines): Promise<void> {
    try {
      for (const machine of machines) {
        await this.maker.make(join(machine.dir, 'tpm'));
        this.#makerKnown.resolve();
        await machine.powerOn();
      }
    } catch (error) {
      this.#makerKnown.reject(error);
      throw error;
    }
  }

  /**
   * Makes and starts the server, with the TPM maker's roots pinned; then makes the image policy from its keys. `policies`
   * are for appraisal, by kind of machine; where there is none, for machines that measure nothing.
   */
  async startServer(
    policies: Readonly<Record<string, unknown>> = {},
    init: readonly string[] = [],
    settings: ServerSettings = {},
  ): Promise<void> {
    this.#port = await freePort();
    const data = join(this.dir, 'server');
    const policyFile = (kind: string) => join(this.dir, `${kind}-policy.json`);
    await Promise.all(
      ['builder', 'device'].map(async (kind) => {
        const policy = policies[kind] ?? (await mustKallio(['policy', 'bare-tpm', '--kind', kind]));
        await writeFile(policyFile(kind), JSON.stringify(policy));
      }),
    );
    await this.#makerKnown.promise;
    await mustKallio([
      ...['server', 'init', '--data', data, '--listen', `127.0.0.1:${this.#port}`, '--name', '127.0.0.1'],
      ...this.maker.roots.flatMap((root) => ['--ek-root', root]),
      ...['--builder-policy', policyFile('builder'), '--device-policy', policyFile('device')],
      ...['--token-file', this.tokenFile],
      ...init,
    ]);
    await this.#changeSettings(settings);
    await this.#startServerProcess();
    const policy = await this.run('policy', 'image', '--builder', this.builder.name, '--tier', 'A', 'B', 'C');
    await writeFile(this.imagePolicy, JSON.stringify(policy));
  }

  /** Changes the server's settings, section by section; one that runs takes them at its next start. */
  async #changeSettings(settings: ServerSettings): Promise<void> {
    const file = join(this.dir, 'server', 'config.json');
    const config = JSON.parse(await readFile(file, 'utf8')) as ServerSettings;
    const changed = Object.entries(settings).map(([name, section]) => [
      name,
      { ...config[name], ...section },
    ]);
    await writeFile(file, JSON.stringify({ ...config, ...Object.fromEntries(changed) }));
  }

  async #startServerProcess(): Promise<void> {
    const flags = ['--data', join(this.dir, 'server'), '--image-policy', this.imagePolicy];
    const [command, args] = kallioCommand(['server', 'start', ...flags]);
    const ready = () => accepts(this.#port);
    this.#server = await Service.start('server', join(this.dir, 'server.log'), command, args, ready);
  }

  /** The server's process. */
  get server(): Service {
    if (this.#server === undefined) throw new Error('the server is not up');
    return this.#server;
  }

  /** Stops the server and starts it again on the same data. */
  async restartServer(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#server?.stop(signal);
    await this.#startServerProcess();
  }

  /** Writes a machine's configuration, with a join token for its name alone, and starts its agent. */
  async startMachine(
    machine: Machine,
    subnet: number,
    settings: Record<string, unknown> = {},
  ): Promise<void> {
    const { name, kind, dir, storage, containersConf } = machine;
    await this.run('join-token', '--kind', kind, '--attester', name, '--out', join(dir, 'join-token'));
    await mkdir(join(dir, 'networks'), { recursive: true });
    await writeFile(
      containersConf,
      [
        '[containers]',
        'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
        '[engine]',
        'runtime = "runc"',
        'cgroup_manager = "cgroupfs"',
        'events_logger = "file"',
        '[network]',
        'network_backend = "netavark"',
        `default_subnet = "10.213.${subnet}.0/24"`,
        `network_config_dir = "${join(dir, 'networks')}"`,
        '',
      ].join('\n'),
    );
    const device = {
      imagePolicy: this.imagePolicy,
      storage,
      containersConf,
      scope: 'storage',
    };
    await writeFile(
      machine.configFile,
      JSON.stringify(
        {
          attester: name,
          kind,
          server: this.serverUrl,
          serverCa: this.ca,
          tpm: machine.tpmAddress,
          stateDir: join(dir, 'state'),
          joinTokenFile: join(dir, 'join-token'),
          socket: machine.socket,
          intervalSeconds: INTERVAL_SECONDS,
          measurements: machine.measurements,
          ...(kind === 'device' ? { device } : {}),
          ...settings,
        },
        null,
        2,
      ),
    );
    await machine.startAgent();
  }

  /** A copy of the sample application's build context, busybox in it. */
  async applicationContext(name: string): Promise<string> {
    const context = join(this.dir, name);
    await cp(EXAMPLE, context, { recursive: true });
    await copyFile('/bin/busybox', join(context, 'busybox'));
    return context;
  }

  /** The last lines of every process's log. */
  logs(): readonly (readonly [string, string])[] {
    return [
      ...(this.#server === undefined ? [] : [['server', this.#server.tail()] as const]),
      ...this.machines.map((machine) => [machine.name, machine.agentLog()] as const),
    ];
  }

  /** Where everything is, for a person who wants to look around. */
  addresses(): string {
    return [
      'Everything is left running, until Ctrl-C.',
      `  server     ${this.serverUrl}`,
      `  registry   http://${this.registry}`,
      ...this.machines.map(({ name, socket }) => `  ${name.padEnd(10)} ${socket}`),
      '',
      'Talk to the server from another terminal:',
      `  export KALLIO_SERVER=${this.serverUrl} KALLIO_CA=${this.ca} KALLIO_TOKEN_FILE=${this.tokenFile}`,
      '  npm run --silent kallio -- attesters list',
      '  npm run --silent kallio -- instances',
    ].join('\n');
  }

  /** Ends every process and removes every file, whatever state they are in; says at the end what could not be. */
  async destroy(): Promise<void> {
    const steps: (() => Promise<unknown> | undefined)[] = [
      ...this.devices
        // One that was never started has no engine yet.
        .filter(({ containersConf }) => existsSync(containersConf))
        .map((device) => () => device.podman('rm', '--all', '--force', '--time', '0')),
      ...this.machines.map((machine) => () => machine.powerOff()),
      () => this.#server?.stop(),
      () => this.#registry?.stop(),
      // The engine mounts its overlay folder over itself.
      ...this.devices.map(
        ({ storage }) =>
          () =>
            unmountIfThere(join(storage.root, 'overlay')),
      ),
      () => rm(this.dir, { recursive: true, force: true }),
    ];
    const failed: unknown[] = [];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length > 0)
      throw new AggregateError(failed, `Left behind in ${this.dir}: ${failed.map(String).join('; ')}`);
  }
}

async function unmountIfThere(folder: string): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  if (mounts.includes(` ${folder} `)) await must('umount', [folder]);
}
