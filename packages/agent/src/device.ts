import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { decodeShape, KallioError, parseDigest, parseJson } from '@kallio/codec';
import type { Inventory } from '@kallio/evidence';
import {
  DEVICE_STREAM,
  DeviceOrder,
  deviceReport,
  events,
  fileManifestPut,
  imageShow,
} from '@kallio/protocol';
import { type ImagePolicy, parseImagePolicy, type VerifiedImage } from '@kallio/signature';
import type { Logger } from 'pino';
import { type AgentConfig, socketOf } from './config.ts';
import type { Connection } from './connection.ts';
import { agentError } from './error.ts';
import type { TpmIdentity } from './identity/identity.ts';
import { Gate } from './instances/gate.ts';
import { containersRunning } from './instances/inventory.ts';
import { KnownInstances } from './instances/known.ts';
import type { InstanceLog } from './instances/log.ts';
import { Orders } from './instances/orders.ts';
import { Podman } from './instances/podman.ts';
import { installShim } from './shim/install.ts';

/** Between two attempts to reach the orchestrator: further and further apart, and soon again once it was reached. */
const FIRST_PAUSE_MS = 250;
const LAST_PAUSE_MS = 10_000;

/** What runs on a device, and who decides about it. */
export class Device {
  readonly gate: Gate;
  readonly known: KnownInstances;
  readonly #podman: Podman;
  readonly #storage: string;
  readonly #scope: string | undefined;

  private constructor(
    gate: Gate,
    known: KnownInstances,
    podman: Podman,
    storage: string,
    scope: string | undefined,
  ) {
    this.gate = gate;
    this.known = known;
    this.#podman = podman;
    this.#storage = storage;
    this.#scope = scope;
  }

  static async open(config: AgentConfig, log: InstanceLog): Promise<Device | undefined> {
    const { device } = config;
    if (device === undefined) return undefined;
    const runtime = await installShim(config.stateDir, socketOf(config), device.runtime ?? '/usr/bin/runc');
    const podman = new Podman(device, runtime);
    const storage = await podman.folders();
    const known = await KnownInstances.open(config.stateDir);
    const gate = new Gate({ log, known, storage, allowExec: device.allowExec === true });
    return new Device(
      gate,
      known,
      podman,
      storage.root,
      device.scope === 'storage' ? storage.root : undefined,
    );
  }

  /** What runs now, as the kernel shows it, and which files of it have changed. */
  async inventory(): Promise<Inventory> {
    return {
      scope: this.#scope === undefined ? 'machine' : this.#storage,
      containers: await containersRunning(this.#scope),
      changed: await this.gate.changedFiles(),
    };
  }

  /** Follows the orchestrator's stream and carries out its orders, until `signal`. */
  async follow(
    parts: {
      readonly config: AgentConfig;
      readonly connection: Connection;
      readonly identity: TpmIdentity;
      readonly log: InstanceLog;
      readonly logger: Logger;
    },
    signal: AbortSignal,
  ): Promise<void> {
    const { config, connection, identity, log, logger } = parts;
    const policyFile = config.device?.imagePolicy ?? '';
    const orders = await Orders.open({
      attester: config.attester,
      stateDir: config.stateDir,
      boot: async () => (await identity.clock()).resetCount,
      policy: policyIn(policyFile),
      podman: this.#podman,
      gate: this.gate,
      known: this.known,
      log,
      address: config.device?.address ?? '127.0.0.1',
      verified: (image) => bringFileManifest(connection, image),
    });
    let pause = FIRST_PAUSE_MS;
    const opened = () => {
      pause = FIRST_PAUSE_MS;
    };
    for (; !signal.aborted; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
      try {
        const client = await connection.client();
        for await (const event of events(client, DEVICE_STREAM, signal, opened)) {
          if (event.event !== 'order') continue;
          const order = decodeShape(DeviceOrder, event.data, 'REPLY_INVALID', 'An order');
          logger.info({ order: order.order, action: order.action, instance: order.instance }, 'order');
          const report = await orders.carryOut(order);
          logger.info(
            { order: order.order, outcome: report.outcome, refusal: report.refusal },
            'order carried out',
          );
          // Evidence that shows the instance goes out before the report: whoever reads the report can look it up.
          await connection.attest();
          await (await connection.client()).call(deviceReport, { body: report });
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof KallioError)) throw error;
        logger.warn({ code: error.code, reason: error.message }, 'the order stream ended');
        if (error.code === 'UNAUTHENTICATED') connection.reset();
      }
      await wait(pause * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
    }
  }
}

/**
 * The image policy as the file holds it when it is asked for: what an operator revokes counts from the next start on. A
 * file that is unusable is told of at once, and later starts nothing.
 */
function policyIn(file: string): () => ImagePolicy {
  let read = contentOf(file);
  let policy = parseImagePolicy(parseJson(read));
  return () => {
    const now = contentOf(file);
    if (!now.equals(read)) {
      policy = parseImagePolicy(parseJson(now));
      read = now;
    }
    return policy;
  };
}

function contentOf(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw agentError('AGENT_CONFIG', `The image policy ${file} can’t be read: nothing is started.`, {
      cause,
    });
  }
}

/** Gives the server the reference values of an image, unless it has them. */
async function bringFileManifest(connection: Connection, image: VerifiedImage): Promise<void> {
  const client = await connection.client();
  const params = { digest: parseDigest(image.image.manifest.digest) };
  const { known } = await client.call(imageShow, { params });
  if (!known) await client.call(fileManifestPut, { params, body: image.fileManifest });
}
