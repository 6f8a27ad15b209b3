import { setTimeout as wait } from 'node:timers/promises';
import { KallioError, type Refusal } from '@kallio/codec';
import { parseReference, pinned } from '@kallio/oci';
import type { DeviceOrder, DeviceReport } from '@kallio/protocol';
import { newId } from '@kallio/protocol/serve';
import type { Logger } from 'pino';
import { orchestratorError } from '../error.ts';
import type { StoredInstance } from '../store/instances.ts';
import type { StoredOperation } from '../store/operations.ts';
import type { StoredOrder } from '../store/orders.ts';
import type { StoredPackage } from '../store/packages.ts';
import type { Store } from '../store/store.ts';
import { type Placed, place } from './placement.ts';
import type { Verifier } from './verifier.ts';

/** How long a grant, and the order that carries it, is good for. */
const GRANT_MS = 600_000;
/** How long a device that is verified but between two streams is waited for: longer than it pauses between attempts. */
const CONNECT_MS = 20_000;
/** How long an instance that has started may take to be seen VERIFIED. */
const VERIFY_MS = 20_000;
const POLL_MS = 250;
const SWEEP_MS = 1_000;

/** What life-cycle operations work with. */
export interface LifecycleParts {
  readonly store: Store;
  readonly verifier: Pick<Verifier, 'devices' | 'instancesOf'>;
  readonly logger: Logger;
  /** Is this device's stream open? */
  readonly connected: (attester: string) => boolean;
  /** Tells a device an order, if its stream is open; it is told again when the stream opens. */
  readonly tell: (attester: string, order: DeviceOrder) => void;
}

/**
 * Carries life-cycle operations on. Where each stands is in the store alone: every step is one transaction, and after
 * a crash {@link Lifecycle.resume} goes on from the last one.
 */
export class Lifecycle {
  readonly #parts: LifecycleParts;
  readonly #closing = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  readonly #again = new Set<string>();
  readonly #sweep: NodeJS.Timeout;

  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    this.#sweep = setInterval(() => this.#sweepUp(), SWEEP_MS);
  }

  /** Takes up every operation that has not come to an end. */
  resume(): void {
    for (const { id } of this.#parts.store.operations.running()) this.#drive(id);
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    this.#closing.abort();
    await Promise.all(this.#running.values());
  }

  /** Begins to place and start an instance; the operation's id. */
  instantiate(instanceId: string, hosts: readonly string[]): string {
    const { store } = this.#parts;
    return this.#begin('INSTANTIATE', instanceId, hosts, (instance) => {
      if (instance.device !== undefined) {
        throw orchestratorError('INSTANCE_STATE', `This instance is on ${instance.device} already.`);
      }
      requireEnabled(store.packages.get(instance.package));
    });
  }

  /** Begins to stop an instance; the operation's id. */
  terminate(instanceId: string): string {
    return this.#begin('TERMINATE', instanceId, [], (instance) => {
      if (instance.device === undefined)
        throw orchestratorError('INSTANCE_STATE', 'This instance is not instantiated.');
    });
  }

  /** Takes a device's report. Only for an order of its own; the same report twice is the same report. */
  report(attester: string, report: DeviceReport): void {
    const { store } = this.#parts;
    const found = store.orders.get(report.order);
    // Attack: an admitted device that answers for another's order, or makes an instance's state up.
    if (found === undefined || found.attester !== attester || found.order.instance !== report.instance) {
      throw orchestratorError('ORDER_UNKNOWN', 'This device was given no such order.');
    }
    if (found.report !== undefined) return;
    // COMMIT POINT: report and what follows from it become durable together, before the answer.
    store.transaction(() => {
      store.orders.answer(report.order, report);
      this.#apply(found, report);
    });
    this.#drive(found.operation);
  }

  #begin(
    operation: StoredOperation['operation'],
    instanceId: string,
    hosts: readonly string[],
    check: (instance: StoredInstance) => void,
  ): string {
    const { store } = this.#parts;
    const id = newId();
    // COMMIT POINT: the operation is durable before it is answered for.
    store.transaction(() => {
      const instance = store.instances.get(instanceId);
      if (instance === undefined) throw new KallioError('NOT_FOUND', 'There is no such instance.');
      if (store.operations.runningOf(instanceId) !== undefined) {
        throw orchestratorError('INSTANCE_STATE', 'Another operation on this instance is under way.');
      }
      check(instance);
      store.operations.begin(id, instanceId, operation, hosts, Date.now());
    });
    this.#drive(id);
    return id;
  }

  /** What a report says about its instance, inside the transaction that keeps it. */
  #apply({ operation: operationId, attester, order }: StoredOrder, report: DeviceReport): void {
    const { store } = this.#parts;
    const operation = store.operations.get(operationId);
    const { instance } = order;
    if (report.outcome === 'started') {
      store.instances.started(instance, report.address);
      // It came too late: nobody waits for it any more, so it must not go on running.
      if (operation?.state === 'FAILED') this.#orderStop(operationId, instance, attester);
      return;
    }
    if (report.outcome === 'stopped' || order.action === 'start') store.instances.gone(instance);
    if (report.outcome === 'stopped') return;
    const refusal =
      report.refusal ??
      orchestratorError(
        'INSTANCE_NOT_VERIFIED',
        `${attester} says no reason why it ${report.outcome}.`,
      ).toJSON();
    store.instances.refuse(instance, refusal);
  }

  /** Carries an operation on in the background; where that is under way, once more when it is done. */
  #drive(id: string): void {
    if (this.#closing.signal.aborted) return;
    if (this.#running.has(id)) {
      this.#again.add(id);
      return;
    }
    const { logger } = this.#parts;
    const work = this.#carryOn(id)
      .catch((error: unknown) => {
        if (!this.#closing.signal.aborted)
          logger.error({ err: error, operation: id }, 'an operation stopped');
      })
      .finally(() => {
        this.#running.delete(id);
        if (this.#again.delete(id)) this.#drive(id);
      });
    this.#running.set(id, work);
  }

  async #carryOn(id: string): Promise<void> {
    const { store, tell } = this.#parts;
    const operation = store.operations.get(id);
    if (operation === undefined) return;
    const last = store.orders.lastOf(id);
    const ended = operation.state === 'COMPLETED' || operation.state === 'FAILED';
    if (last !== undefined && last.report === undefined) return tell(last.attester, last.order);
    if (ended) return;
    if (last?.report !== undefined) return this.#settle(operation, last, last.report);
    return operation.operation === 'INSTANTIATE' ? this.#start(operation) : this.#stop(operation);
  }

  async #start(operation: StoredOperation): Promise<void> {
    const { store, tell } = this.#parts;
    const placed = await this.#place(operation.hosts);
    if (placed instanceof KallioError) return this.#fail(operation, placed.toJSON());
    const instance = store.instances.get(operation.instance);
    const onboarded = instance === undefined ? undefined : store.packages.get(instance.package);
    const { appd, digest, ports } = requireEnabled(onboarded);
    const grant = {
      id: newId(),
      appInstanceId: operation.instance,
      appLcmOpOccId: operation.id,
      kallio: {
        ...placed,
        image: digest,
        expiresAt: new Date(Date.now() + GRANT_MS).toISOString(),
      },
    };
    const { numVirtualCpu } = appd.virtualComputeDescriptor.virtualCpu;
    const { virtualMemSize } = appd.virtualComputeDescriptor.virtualMemory;
    const order: DeviceOrder = {
      order: newId(),
      action: 'start',
      instance: operation.instance,
      image: pinned(parseReference(appd.swImageDescriptor.swImage), digest),
      grant,
      ports: [...ports],
      limits: { memoryMiB: Math.ceil(virtualMemSize), cpus: numVirtualCpu },
    };
    // COMMIT POINT: grant, order and placement become durable together, before the device hears of it.
    store.transaction(() => {
      store.operations.grant(grant);
      store.orders.give(operation.id, placed.attester, order, Date.now());
      store.instances.place(operation.instance, placed.attester);
      store.operations.enter(operation.id, 'PROCESSING', Date.now());
    });
    tell(placed.attester, order);
  }

  /** A device to place on; one that is merely between two connections is waited for. */
  async #place(hosts: readonly string[]): Promise<Placed | KallioError> {
    const { store, verifier, connected } = this.#parts;
    for (const deadline = Date.now() + CONNECT_MS; ; await this.#pause()) {
      const devices = await verifier.devices();
      const placed = place(devices, connected, store.instances.load(), hosts);
      if (!(placed instanceof KallioError)) return placed;
      const worthWaiting = !(place(devices, () => true, new Map(), hosts) instanceof KallioError);
      if (!worthWaiting || Date.now() > deadline) return placed;
    }
  }

  async #stop(operation: StoredOperation): Promise<void> {
    const { store } = this.#parts;
    const { device } = store.instances.get(operation.instance) ?? {};
    if (device === undefined) return this.#complete(operation);
    store.transaction(() => {
      this.#orderStop(operation.id, operation.instance, device);
      store.operations.enter(operation.id, 'PROCESSING', Date.now());
    });
    return this.#carryOn(operation.id);
  }

  /** Gives the order to stop, inside the caller's transaction. Carrying the operation on tells the device. */
  #orderStop(operation: string, instance: string, attester: string): void {
    const order: DeviceOrder = { order: newId(), action: 'stop', instance };
    this.#parts.store.orders.give(operation, attester, order, Date.now());
  }

  /** What becomes of an operation whose last order was answered. */
  async #settle(
    operation: StoredOperation,
    { attester, order }: StoredOrder,
    report: DeviceReport,
  ): Promise<void> {
    const { store } = this.#parts;
    if (report.outcome === 'stopped') return this.#complete(operation);
    if (report.outcome !== 'started') {
      const { refusal } = store.instances.get(operation.instance) ?? {};
      return this.#fail(operation, report.refusal ?? refusal ?? notVerified(attester, 'UNKNOWN').toJSON());
    }
    const refusal = await this.#awaitVerified(attester, order.instance);
    if (refusal === undefined) return this.#complete(operation);
    // It runs, and nobody vouches for it: it must not go on running.
    store.transaction(() => {
      this.#orderStop(operation.id, operation.instance, attester);
      this.#fail(operation, refusal);
    });
    return this.#carryOn(operation.id);
  }

  /** Waits until the attestation server calls the instance VERIFIED; otherwise says why it does not. */
  async #awaitVerified(attester: string, instance: string): Promise<Refusal | undefined> {
    const { verifier } = this.#parts;
    let seen: { readonly state: string; readonly reasons: readonly Refusal[] } = {
      state: 'UNKNOWN',
      reasons: [],
    };
    for (const deadline = Date.now() + VERIFY_MS; Date.now() < deadline; await this.#pause()) {
      const device = (await verifier.devices()).find((one) => one.attester === attester);
      if (device === undefined) continue;
      seen = (await verifier.instancesOf(device)).get(instance) ?? seen;
      if (seen.state === 'VERIFIED') return undefined;
      if (seen.state === 'VIOLATED') break;
    }
    const [why] = seen.reasons;
    return why ?? notVerified(attester, seen.state).toJSON();
  }

  #complete(operation: StoredOperation): void {
    this.#parts.store.operations.enter(operation.id, 'COMPLETED', Date.now());
    this.#parts.logger.info({ operation: operation.id, kind: operation.operation }, 'operation completed');
  }

  #fail(operation: StoredOperation, refusal: Refusal): void {
    const { store, logger } = this.#parts;
    store.transaction(() => {
      store.operations.enter(operation.id, 'FAILED', Date.now(), refusal);
      store.instances.refuse(operation.instance, refusal);
    });
    logger.warn(
      { operation: operation.id, kind: operation.operation, code: refusal.code },
      'operation failed',
    );
  }

  /** Takes up operations that something temporary stopped; ends those that nobody answers for. */
  #sweepUp(): void {
    const { store } = this.#parts;
    for (const operation of store.operations.running()) {
      const last = store.orders.lastOf(operation.id);
      const waits = last !== undefined && last.report === undefined;
      const over = Date.now() - operation.enteredAt >= GRANT_MS;
      if (!over) {
        if (!waits) this.#drive(operation.id);
        continue;
      }
      const whom = last === undefined ? 'The attestation server' : last.attester;
      store.transaction(() => {
        store.orders.withdraw(operation.id);
        this.#fail(
          operation,
          orchestratorError(
            'ORDER_UNANSWERED',
            `${whom} has not answered for ${GRANT_MS / 60_000} minutes.`,
            {
              hint: 'Is it up? A device that starts this instance after all is told to stop it.',
            },
          ).toJSON(),
        );
      });
    }
  }

  #pause(): Promise<void> {
    return wait(POLL_MS, undefined, { signal: this.#closing.signal });
  }
}

/** Parts of a package that only an onboarded one has. */
function requireEnabled(found: StoredPackage | undefined): Required<Pick<StoredPackage, 'ports'>> & {
  readonly appd: NonNullable<StoredPackage['appd']>;
  readonly digest: NonNullable<StoredPackage['digest']>;
} {
  if (found?.state !== 'ONBOARDED' || found.appd === undefined || found.digest === undefined) {
    throw orchestratorError('PACKAGE_NOT_ENABLED', 'The instance’s package is not enabled.', {
      hint: 'kallio packages list says why.',
    });
  }
  return { appd: found.appd, digest: found.digest, ports: found.ports };
}

function notVerified(attester: string, state: string): KallioError {
  return orchestratorError(
    'INSTANCE_NOT_VERIFIED',
    `${attester} started the instance, and its evidence does not show it as VERIFIED (${state}).`,
  );
}
