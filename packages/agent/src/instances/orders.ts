import { join } from 'node:path';
import { decodeShape, Exact, KallioError, parseJson } from '@kallio/codec';
import { openRepository, parseReference } from '@kallio/oci';
import { type DeviceOrder, DeviceReport } from '@kallio/protocol';
import { type ImagePolicy, type VerifiedImage, verifyImage } from '@kallio/signature';
import { Type } from 'typebox';
import { agentError } from '../error.ts';
import { readIfThere, writeDurably } from '../files.ts';
import { Turns } from '../turns.ts';
import type { Gate } from './gate.ts';
import type { KnownInstances } from './known.ts';
import type { InstanceLog } from './log.ts';
import type { Podman } from './podman.ts';

type StartOrder = Extract<DeviceOrder, { action: 'start' }>;

const ReportsFile = Exact({ reports: Type.Array(DeviceReport) });
/** Reports that are kept, so that an order sent again is answered again and not carried out again. */
const MAX_REPORTS = 256;

/** What carrying out orders works with. */
export interface OrderParts {
  readonly attester: string;
  readonly stateDir: string;
  readonly boot: () => Promise<number>;
  /** What is demanded of an image, at this moment. */
  readonly policy: () => ImagePolicy;
  readonly podman: Podman;
  readonly gate: Gate;
  readonly known: KnownInstances;
  readonly log: InstanceLog;
  /** Address at which published ports are reachable. */
  readonly address: string;
  /** Called with an image that was verified, before its instance is reported. */
  readonly verified: (image: VerifiedImage) => Promise<void>;
}

/** Carries out the orchestrator's orders, one at a time. The device decides: an order is a wish. */
export class Orders {
  readonly #parts: OrderParts;
  readonly #turns = new Turns();
  readonly #reports: Map<string, DeviceReport>;

  private constructor(parts: OrderParts, reports: readonly DeviceReport[]) {
    this.#parts = parts;
    this.#reports = new Map(reports.map((report) => [report.order, report]));
  }

  static async open(parts: OrderParts): Promise<Orders> {
    const bytes = await readIfThere(join(parts.stateDir, 'reports.json'));
    if (bytes === undefined) return new Orders(parts, []);
    const { reports } = decodeShape(ReportsFile, parseJson(bytes), 'AGENT_CONFIG', 'reports.json');
    return new Orders(parts, reports);
  }

  /** Carries an order out, or remembers what became of it, and gives the report. */
  carryOut(order: DeviceOrder): Promise<DeviceReport> {
    return this.#turns.take(async () => {
      const known = this.#reports.get(order.order);
      if (known !== undefined) return known;
      const report = await (order.action === 'start' ? this.#start(order) : this.#stop(order));
      this.#reports.set(order.order, report);
      const kept = [...this.#reports.values()].slice(-MAX_REPORTS);
      // COMMIT POINT: durable before it is told.
      await writeDurably(join(this.#parts.stateDir, 'reports.json'), JSON.stringify({ reports: kept }));
      return report;
    });
  }

  async #start(order: StartOrder): Promise<DeviceReport> {
    const { order: id, instance } = order;
    const chain: { step: string; detail: string }[] = [];
    try {
      await this.#checkGrant(order);
      this.#parts.log.requireWhole();
      const image = await this.#verify(order, chain);
      const address = await this.#run(order, image);
      await this.#parts.verified(image);
      return {
        order: id,
        instance,
        outcome: 'started',
        ...(address === undefined ? {} : { address }),
        chain,
      };
    } catch (error) {
      if (!(error instanceof KallioError)) throw error;
      const outcome = error.code === 'RUNTIME_FAILED' ? 'failed' : 'refused';
      return { order: id, instance, outcome, refusal: { ...error.toJSON() }, chain };
    }
  }

  async #checkGrant({ grant, image, instance }: StartOrder): Promise<void> {
    const { kallio } = grant;
    const boot = await this.#parts.boot();
    // Attack: a grant for another device, another image, or for this device before it was rebooted into something else.
    if (
      kallio.attester !== this.#parts.attester ||
      kallio.boot !== boot ||
      kallio.image !== parseReference(image).digest ||
      grant.appInstanceId !== instance
    ) {
      throw agentError(
        'GRANT_MISMATCH',
        'The grant is not for this device in this boot, this instance and this image.',
      );
    }
    if (Date.parse(kallio.expiresAt) <= Date.now())
      throw agentError('GRANT_EXPIRED', 'The grant’s time is over.');
  }

  /** The device's own image check: it believes neither orchestrator nor registry. */
  async #verify({ image }: StartOrder, chain: { step: string; detail: string }[]): Promise<VerifiedImage> {
    const reference = parseReference(image);
    const source = openRepository(reference);
    const verdict = await verifyImage(reference.digest ?? '', source, this.#parts.policy(), new Date());
    for (const { step, detail } of verdict.steps) chain.push({ step, detail: (detail ?? '').slice(0, 1024) });
    if (!verdict.ok) throw new KallioError(verdict.refusal.code, verdict.refusal.message, verdict.refusal);
    return verdict;
  }

  async #run(order: StartOrder, verified: VerifiedImage): Promise<string | undefined> {
    const { podman, gate, known, address } = this.#parts;
    const { instance, image, ports, limits } = order;
    const name = `kallio-${instance}`;
    await known.keepManifest(verified.fileManifestDigest, verified.fileManifest);
    await podman.pull(image);
    // What a crash in an earlier attempt may have left.
    await podman.remove(name);
    const expectation = gate.expect({
      instance,
      image: verified.image.manifest.digest,
      claims: verified.image.claims,
      fileManifest: verified.fileManifestDigest,
      files: verified.fileManifest,
    });
    try {
      const container = await podman.run({ name, instance, image, ports, address, limits });
      const [port] = ports;
      const published = port === undefined ? undefined : await podman.published(container, port);
      return published === undefined ? undefined : `http://${published}`;
    } catch (error) {
      await podman.remove(name);
      // The gate's own refusal says more than the engine's complaint about it.
      throw expectation.refusal() ?? error;
    } finally {
      expectation.end();
    }
  }

  async #stop({ order, instance }: DeviceOrder): Promise<DeviceReport> {
    try {
      await this.#parts.podman.remove(`kallio-${instance}`);
      return { order, instance, outcome: 'stopped' };
    } catch (error) {
      if (!(error instanceof KallioError)) throw error;
      return { order, instance, outcome: 'failed', refusal: { ...error.toJSON() } };
    }
  }
}
