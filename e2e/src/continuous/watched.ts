import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentConfig, type RunningAgent, runAgent } from '@kallio/agent';
import { bareTpmPolicy } from '@kallio/appraisal';
import { decodeShape } from '@kallio/codec';
import { type AttesterSummary, attesterPush, attesterShow, Client, joinTokenCreate } from '@kallio/protocol';
import { initServer, type RunningServer, startServer } from '@kallio/server';
import { pino } from 'pino';
import { MeasuringKernel, referenceValues } from '../site/measuring/kernel.ts';
import { TpmBus } from '../site/measuring/tpm-bus.ts';
import { freePort } from '../site/ports.ts';
import { until } from '../site/process.ts';
import { SoftwareTpm, TpmMaker } from '../site/tpm.ts';
import { Wire } from './wire.ts';

const ATTESTER = 'build-1';
/** Files that the policy knows. */
const KNOWN_FILES = 5000;

/**
 * A machine that is watched: a software TPM, a kernel that measures to it, an agent, a server, and the wire between them.
 * Agent and server run in this process, so that they can be stopped in the middle of things.
 */
export class Watched {
  readonly dir: string;
  readonly kernel: MeasuringKernel;
  readonly #tpm: SoftwareTpm;
  readonly #config: object;
  readonly #port: number;
  #bus: TpmBus | undefined;
  #server: RunningServer | undefined;
  #agent: RunningAgent | undefined;
  #admin: Client;
  wire: Wire;

  private constructor(dir: string, port: number, wire: Wire, admin: Client) {
    this.dir = dir;
    this.#port = port;
    this.wire = wire;
    this.#admin = admin;
    this.#tpm = new SoftwareTpm(join(dir, 'tpm'), join(dir, 'swtpm.log'));
    this.kernel = new MeasuringKernel(dir, `swtpm:unix:${join(dir, 'bus')}`);
    this.#config = {
      attester: ATTESTER,
      kind: 'builder',
      server: `https://127.0.0.1:${wire.port}`,
      serverCa: join(dir, 'server', 'ca.pem'),
      tpm: `swtpm:unix:${join(dir, 'bus')}`,
      stateDir: join(dir, 'agent'),
      joinTokenFile: join(dir, 'join-token'),
      socket: join(dir, 'agent.sock'),
      measurements: this.kernel.paths,
    };
  }

  /** Everything is up but the agent. `settings` are of the server's section `attestation`. */
  static async create(settings: Readonly<Record<string, number>> = {}): Promise<Watched> {
    const dir = await mkdtemp(join(tmpdir(), 'kallio-w-'));
    const maker = await TpmMaker.create(join(dir, 'maker'));
    await maker.make(join(dir, 'tpm'));
    const bare = bareTpmPolicy('watched-1', 'builder');
    const { '10': _, ...pcrs } = bare.reference.pcrs ?? {};
    const reference = {
      ...bare.reference,
      pcrs,
      ima: { classes: [{ name: 'tools', digests: referenceValues(KNOWN_FILES) }] },
    };
    await writeFile(join(dir, 'policy.json'), JSON.stringify({ ...bare, reference }));
    const port = await freePort();
    const dataDir = join(dir, 'server');
    const { adminToken, ca } = await initServer({
      dataDir,
      listen: `127.0.0.1:${port}`,
      names: ['127.0.0.1'],
      trustDomain: 'edge.test',
      issuer: 'verifier.edge.test',
      log: { name: 'log.edge.test' },
      ekRoots: maker.roots,
      builderPolicy: join(dir, 'policy.json'),
    });
    const file = join(dataDir, 'config.json');
    const config = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(
      file,
      JSON.stringify({
        ...config,
        logLevel: 'silent',
        attestation: { ...config.attestation, ...settings },
      }),
    );
    const admin = new Client({ url: `https://127.0.0.1:${port}`, ca, token: adminToken });
    const watched = new Watched(dir, port, await Wire.to(port), admin);
    await writeFile(join(dir, 'admin-token'), adminToken, { mode: 0o600 });
    await watched.startServer();
    const { token } = await admin.call(joinTokenCreate, {
      body: { uses: 1, ttlSeconds: 600, attester: ATTESTER, kind: 'builder' },
    });
    await writeFile(join(dir, 'join-token'), token);
    await watched.powerOn();
    return watched;
  }

  /** As its operator. */
  get admin(): Client {
    return this.#admin;
  }

  /** The environment in which `kallio` reaches the server as its operator. */
  get operator(): Readonly<Record<string, string>> {
    return {
      KALLIO_SERVER: `https://127.0.0.1:${this.#port}`,
      KALLIO_CA: join(this.dir, 'server', 'ca.pem'),
      KALLIO_TOKEN_FILE: join(this.dir, 'admin-token'),
    };
  }

  async startServer(): Promise<void> {
    this.#server = await startServer({ dataDir: join(this.dir, 'server') });
  }

  async stopServer(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
  }

  /** A copy of the stopped server's folder. */
  async backUp(): Promise<void> {
    await cp(join(this.dir, 'server'), join(this.dir, 'backup'), { recursive: true });
  }

  async restore(): Promise<void> {
    await rm(join(this.dir, 'server'), { recursive: true });
    await cp(join(this.dir, 'backup'), join(this.dir, 'server'), { recursive: true });
  }

  async powerOn(): Promise<void> {
    await this.#tpm.powerOn();
    this.#bus = await TpmBus.open(join(this.dir, 'bus'), join(this.dir, 'tpm', 'tpm.sock'));
    await this.kernel.boot();
  }

  /** The TPM answers nothing while `work` lasts. */
  whileTpmStalls<T>(work: () => Promise<T>): Promise<T> {
    return this.#tpm.stalled(work);
  }

  async powerOff(): Promise<void> {
    await this.#bus?.close();
    this.#bus = undefined;
    await this.#tpm.powerOff();
  }

  async startAgent(intervalSeconds = 3600): Promise<void> {
    await mkdir(join(this.dir, 'agent'), { recursive: true });
    const config = decodeShape(AgentConfig, { ...this.#config, intervalSeconds });
    this.#agent = await runAgent(config, pino({ level: 'silent' }));
    // What ends it is shown by the attester's state.
    this.#agent.ended.catch(() => undefined);
  }

  async stopAgent(): Promise<void> {
    await this.#agent?.close();
    this.#agent = undefined;
  }

  shown(): Promise<AttesterSummary> {
    return this.#admin.call(attesterShow, { params: { attester: ATTESTER } });
  }

  /** Waits until the attester is shown so. */
  shownAs(what: string, holds: (shown: AttesterSummary) => boolean, seconds = 30): Promise<AttesterSummary> {
    return until(what, seconds, async () => {
      const shown = await this.shown().catch(() => undefined);
      return shown !== undefined && holds(shown) ? shown : undefined;
    });
  }

  /** Asks the attester for evidence over its stream, and waits for the result. */
  async push(): Promise<AttesterSummary> {
    const before = await this.shown();
    await until('the attester’s stream', 60, async () => {
      const { asked } = await this.#admin.call(attesterPush, { params: { attester: ATTESTER } });
      return asked ? true : undefined;
    });
    return this.shownAs('another result', ({ result }) => result !== before.result);
  }

  async destroy(): Promise<void> {
    await this.stopAgent();
    await this.stopServer();
    await this.wire.close();
    await this.#admin.close();
    await this.powerOff();
    await rm(this.dir, { recursive: true, force: true });
  }
}
