import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AppraisalPolicy } from '@kallio/appraisal';
import type { JobSite } from '@kallio/e2e/demo/job';
import { kallio, kallioCommand, mustKallio, type Outcome } from '@kallio/e2e/kallio';
import { accepts, freePort } from '@kallio/e2e/ports';
import { until } from '@kallio/e2e/process';
import { writeRegistryConfig } from '@kallio/e2e/registry';
import { TpmMaker } from '@kallio/e2e/tpm';
import {
  type AttesterSummary,
  attestersList,
  type CallInput,
  Client,
  joinTokenCreate,
  type Reply,
  type Route,
} from '@kallio/protocol';
import { firmwareLog } from '../image/firmware.ts';
import { type Flavour, type Image, image } from '../image/image.ts';
import { EXAMPLE } from '../image/root.ts';
import type { KernelUpdate } from '../image/update.ts';
import { Daemon } from '../machine/daemon.ts';
import { guard } from '../machine/guard.ts';
import { Machine } from '../machine/machine.ts';
import { GUEST_ADDRESS, HOST_ADDRESS, type HostPorts } from '../machine/qemu.ts';
import { type Say, told } from '../say.ts';
import { announce, writePolicy } from './reference-values.ts';

/** What a lab is made of. */
export interface LabPlan {
  readonly flavour: Flavour;
  /** Names of build hosts and of devices. */
  readonly builders: readonly string[];
  readonly devices: readonly string[];
}

interface Made extends LabPlan {
  readonly ports: HostPorts;
}

/** Seconds between two evidence messages of a machine. */
const INTERVAL_SECONDS = 20;
/** Where a machine's agent keeps what it has. */
const STATE = '/var/lib/kallio';
/** Where podman's storage is by itself: told, the agent need not ask for it at each start. */
const STORAGE = { root: '/var/lib/containers/storage', runRoot: '/run/containers/storage' };

/** A machine that is emulated takes its time; an operation of the server ends by itself before. */
const COMMAND = { timeoutMs: 1_000_000 };

/**
 * An edge site of real machines: server and registry on the host's loopback interface, build hosts and devices each a
 * machine of its own under QEMU. All of it lies in one folder, by which another command finds it again.
 */
export class LabSite implements JobSite {
  readonly dir: string;
  readonly #made: Made;
  readonly #server: Daemon;
  readonly #registry: Daemon;

  private constructor(dir: string, made: Made) {
    this.dir = dir;
    this.#made = made;
    this.#server = new Daemon('server', dir);
    this.#registry = new Daemon('registry', dir);
  }

  static async create(plan: LabPlan): Promise<LabSite> {
    // Short, because a UNIX socket's path is at most 107 bytes.
    const dir = await mkdtemp(join(tmpdir(), 'kallio-lab-'));
    const ports = { server: await freePort(), registry: await freePort() };
    await writeFile(join(dir, 'lab.json'), JSON.stringify({ ...plan, ports }));
    return new LabSite(dir, { ...plan, ports });
  }

  static async open(dir: string): Promise<LabSite> {
    return new LabSite(dir, JSON.parse(await readFile(join(dir, 'lab.json'), 'utf8')) as Made);
  }

  get machines(): readonly Machine[] {
    return [...this.#made.builders, ...this.#made.devices].map((name) => this.machine(name));
  }

  machine(name: string): Machine {
    return new Machine(name, join(this.dir, name));
  }

  get registry(): string {
    return `127.0.0.1:${this.#made.ports.registry}`;
  }

  get imagePolicy(): string {
    return join(this.dir, 'image-policy.json');
  }

  get appDescriptor(): string {
    return join(EXAMPLE, 'appd.json');
  }

  /** The environment in which `kallio` reaches this site's server as its operator. */
  get operator(): Readonly<Record<string, string>> {
    return {
      KALLIO_SERVER: `https://127.0.0.1:${this.#made.ports.server}`,
      KALLIO_CA: join(this.dir, 'server', 'ca.pem'),
      KALLIO_TOKEN_FILE: join(this.dir, 'admin-token'),
    };
  }

  try(...args: string[]): Promise<Outcome> {
    return kallio(args, this.operator, COMMAND);
  }

  run(...args: string[]): Promise<unknown> {
    return mustKallio(args, this.operator, COMMAND);
  }

  /**
   * One exchange with the server as its operator, in this process: machines that start lack what starting a command takes.
   */
  async call<R extends Route>(route: R, input: CallInput<R>): Promise<Reply<R>> {
    const { KALLIO_SERVER: url = '', KALLIO_CA: ca = '', KALLIO_TOKEN_FILE: token = '' } = this.operator;
    const client = new Client({
      url,
      ca: await readFile(ca, 'utf8'),
      token: (await readFile(token, 'utf8')).trim(),
    });
    try {
      return await client.call(route, input);
    } finally {
      await client.close();
    }
  }

  /** Every attester, as the server sees it. */
  async attesters(): Promise<readonly AttesterSummary[]> {
    return (await this.call(attestersList, {})).attesters;
  }

  /** The account of a result, from the verdict to the bytes. */
  explain(result: string, ...flags: string[]): Promise<unknown> {
    const sets = join(this.dir, 'sets');
    return this.run(
      'explain',
      result,
      ...flags,
      '--reference-set',
      ...readdirSync(sets).map((name) => join(sets, name)),
    );
  }

  /** Announces an update of the devices, and puts the policy in force that does. */
  async announce(
    update: KernelUpdate,
    window: { readonly id: string; readonly boots: number },
  ): Promise<void> {
    const policy = (await this.run('policy', 'show', '--kind', 'device')) as AppraisalPolicy;
    const file = join(this.dir, 'announced-policy.json');
    await announce(policy, update, window, file);
    await this.run('policy', 'set', '--kind', 'device', file);
  }

  /** Puts a file in the site's registry, as a blob, and gives the address at which a machine finds it. */
  async publish(file: string): Promise<string> {
    const content = await readFile(file);
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
    const host = `http://${this.registry}`;
    const begun = await fetch(`${host}/v2/packages/blobs/uploads/`, { method: 'POST' });
    const target = new URL(begun.headers.get('location') ?? '', host);
    target.searchParams.set('digest', digest);
    const { status } = await fetch(target, { method: 'PUT', body: content });
    if (status !== 201) throw new Error(`The registry did not take ${file}: ${status}.`);
    return `${host}/v2/packages/blobs/${digest}`;
  }

  /** Where the state of a TPM lies that no machine has yet. */
  tpmOf(name: string): string {
    return join(this.dir, 'tpms', name);
  }

  /** Makes one more TPM of this lab's maker. */
  async makeTpm(name: string): Promise<void> {
    await (await TpmMaker.create(join(this.dir, 'maker'))).make(this.tpmOf(name));
  }

  /** Server and registry. */
  async startHost(say: Say): Promise<void> {
    const { ports } = this.#made;
    const maker = await TpmMaker.create(join(this.dir, 'maker'));
    const booted = await this.#image(say);
    // Learnt once, before both policies ask for it.
    await firmwareLog(booted, say);
    await told(say, 'appraisal policies, TPMs, registry', async () => {
      const policies = (['builder', 'device'] as const).map((kind) =>
        writePolicy(this.#policyOf(kind), booted, kind, say),
      );
      await Promise.all([...policies, this.#makeTpms(maker), this.#startRegistry()]);
    });
    await told(say, 'server', async () => {
      await this.#initServer(maker.roots);
      await this.#startServer();
      const policy = await this.run('policy', 'image', '--builder', ...this.#made.builders);
      await writeFile(this.imagePolicy, JSON.stringify(policy));
    });
    say(`  server     ${this.operator.KALLIO_SERVER}, ${HOST_ADDRESS}:${ports.server} for the machines`);
    say(`  registry   http://${this.registry}`);
  }

  /** What its machines boot; all of them the same, whatever has been changed in the sources since. */
  async #image(say: Say): Promise<Image> {
    const file = join(this.dir, 'image.json');
    if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as Image;
    const booted = await image(this.#made.flavour, say);
    await writeFile(file, JSON.stringify(booted));
    return booted;
  }

  #policyOf(kind: 'builder' | 'device'): string {
    return join(this.dir, `${kind}-policy.json`);
  }

  async #makeTpms(maker: TpmMaker): Promise<void> {
    for (const { name } of this.machines) await maker.make(this.tpmOf(name));
  }

  async #startRegistry(): Promise<void> {
    const config = await writeRegistryConfig(join(this.dir, 'registry'), this.#made.ports.registry);
    await this.#registry.start('docker-registry', ['serve', config], () =>
      accepts(this.#made.ports.registry),
    );
  }

  async #initServer(roots: readonly string[]): Promise<void> {
    const data = join(this.dir, 'server');
    await mustKallio([
      ...['server', 'init', '--data', data, '--listen', `127.0.0.1:${this.#made.ports.server}`],
      ...['--name', '127.0.0.1', HOST_ADDRESS, '--token-file', join(this.dir, 'admin-token')],
      ...roots.flatMap((root) => ['--ek-root', root]),
      ...['--builder-policy', this.#policyOf('builder'), '--device-policy', this.#policyOf('device')],
    ]);
    // The machines have no root on this host: it is their hypervisor, and its TPMs are believed as such.
    const file = join(data, 'config.json');
    const config = JSON.parse(await readFile(file, 'utf8')) as { enrolment: object };
    const reason = 'the lab’s host, on which no machine has root';
    const endorsers = await Promise.all(
      roots.map(async (root) => ({ root: await fingerprint(root), kind: 'hypervisor', reason })),
    );
    await writeFile(
      file,
      JSON.stringify({ ...config, enrolment: { ...config.enrolment, endorsers } }, null, 2),
    );
  }

  async #startServer(): Promise<void> {
    const flags = ['--data', join(this.dir, 'server'), '--image-policy', this.imagePolicy];
    const [command, args] = kallioCommand(['server', 'start', ...flags]);
    await this.#server.start(command, args, () => accepts(this.#made.ports.server));
  }

  /** Makes a machine with a join token for its name alone, and powers it on. */
  async startMachine(machine: Machine, say: Say): Promise<void> {
    const { ports } = this.#made;
    const booted = await this.#image(say);
    await told(say, `${machine.name}: firmware, kernel, set-up`, async () => {
      await machine.make(
        { image: booted, ports },
        await this.#configuration(machine.name),
        this.tpmOf(machine.name),
      );
      await machine.start();
    });
  }

  /** Waits until these machines are VERIFIED; gives what the server says of them. */
  async verified(say: Say, machines = this.machines, seconds = 300): Promise<readonly AttesterSummary[]> {
    const names = machines.map(({ name }) => name);
    return told(say, `enrolment and first evidence of ${names.join(', ')}`, () =>
      until(`${names.join(', ')} to be VERIFIED (see npm run lab -- status)`, seconds, async () => {
        const good = (await this.attesters()).filter(
          ({ attester, state }) => names.includes(attester) && state === 'VERIFIED',
        );
        return good.length === names.length ? good : undefined;
      }),
    );
  }

  async #configuration(name: string): Promise<Record<string, string>> {
    const { builders, ports } = this.#made;
    const kind = builders.includes(name) ? 'builder' : 'device';
    const { token } = await this.call(joinTokenCreate, {
      body: { uses: 1, ttlSeconds: 3600, kind, attester: name },
    });
    const agent = {
      attester: name,
      kind,
      server: `https://${HOST_ADDRESS}:${ports.server}`,
      serverCa: 'ca.pem',
      tpm: 'device:/dev/tpmrm0',
      stateDir: STATE,
      joinTokenFile: 'join-token',
      intervalSeconds: INTERVAL_SECONDS,
      ...(kind === 'device'
        ? {
            device: {
              imagePolicy: 'image-policy.json',
              scope: 'machine',
              storage: STORAGE,
              address: GUEST_ADDRESS,
            },
          }
        : {}),
    };
    return {
      machine: `name=${name}\nregistry_port=${ports.registry}\n`,
      'agent.json': JSON.stringify(agent, null, 2),
      'ca.pem': await readFile(join(this.dir, 'server', 'ca.pem'), 'utf8'),
      'join-token': token,
      'image-policy.json': await readFile(this.imagePolicy, 'utf8'),
    };
  }

  /** Builds the sample application on the first build host, with buildah. */
  async build(target: string): Promise<unknown> {
    const [builder = ''] = this.#made.builders;
    const script = [
      'rm -rf /var/tmp/application && cp -r /usr/share/kallio-lab/sensor-gateway /var/tmp/application',
      'cp /bin/busybox /var/tmp/application/busybox',
      `TMPDIR=/var/tmp kallio build -t ${target} /var/tmp/application --agent ${STATE}/agent.sock --json`,
    ].join(' && ');
    return JSON.parse(await this.machine(builder).must(script, 600_000)) as unknown;
  }

  /** Asks an instance over HTTP from the device it runs on: nothing reaches into a machine from outside. */
  async ask(
    { device, address }: { readonly device: string; readonly address: string },
    path: string,
    body?: string,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const post = body === undefined ? '' : `--data-raw '${body}'`;
    const out = await this.machine(device).must(
      `curl --silent --max-time 60 --write-out '\\n%{http_code}' ${post} '${address}${path}'`,
    );
    const at = out.lastIndexOf('\n');
    return { status: Number(out.slice(at + 1)), text: out.slice(0, at) };
  }

  /** Has everything taken down when this process ends without having done so itself, also by SIGKILL. */
  guard(): void {
    guard(this.dir);
  }

  /** The end of each log, for a person who wants to know why. */
  async lastWords(): Promise<string> {
    const logs: string[] = [`--- server\n${this.#server.tail()}`];
    for (const machine of this.machines) {
      const agent = machine.running
        ? await machine.exec('tail -n 15 /var/log/kallio-agent.log', 20_000).catch(() => undefined)
        : undefined;
      logs.push(`--- ${machine.name}\n${agent?.stdout ?? (await machine.consoleText()).slice(-2000)}`);
    }
    return logs.join('\n');
  }

  /** Ends every process and removes every file. */
  async destroy(): Promise<void> {
    for (const machine of this.machines) await machine.powerCut();
    await this.#server.stop();
    await this.#registry.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}

async function fingerprint(file: string): Promise<string> {
  const { raw } = new X509Certificate(await readFile(file));
  return createHash('sha256').update(raw).digest('hex');
}
