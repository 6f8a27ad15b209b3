import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDigest } from '@kallio/codec';
import type { AttesterSummary, DeviceOrder, SubjectState } from '@kallio/protocol';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Lifecycle } from '../src/lifecycle/lifecycle.ts';
import { openStore, type Store } from '../src/store/store.ts';
import { appd } from './fixture-appd.ts';
import { device } from './fixture-devices.ts';

const DIGEST = parseDigest(`sha256:${'cd'.repeat(32)}`);
const INSTANCE = 'instance-1';

/**
 * The world around the orchestrator: what the attestation server says, which devices listen, what they heard. The
 * real ones take part in the scenarios of e2e; here each can be brought to any state at any moment.
 */
class World {
  devices: AttesterSummary[] = [device('cabinet-1'), device('cabinet-2')];
  instances = new Map<string, SubjectState>();
  listening = new Set(['cabinet-1', 'cabinet-2']);
  heard: { attester: string; order: DeviceOrder }[] = [];
  /** Thrown instead of an answer, while it is set. */
  away: Error | undefined;

  orders(): DeviceOrder[] {
    return this.heard.map(({ order }) => order);
  }

  last(): { attester: string; order: DeviceOrder } {
    const last = this.heard.at(-1);
    if (last === undefined) throw new Error('nothing was ordered');
    return last;
  }
}

let dir: string;
let store: Store;
let world: World;
let lifecycle: Lifecycle;

function begin(): void {
  store = openStore(join(dir, 'orchestrator.sqlite'));
  lifecycle = new Lifecycle({
    store,
    logger: pino({ level: 'silent' }),
    verifier: {
      devices: async () => {
        if (world.away !== undefined) throw world.away;
        return world.devices;
      },
      instancesOf: async () => world.instances,
    },
    connected: (attester) => world.listening.has(attester),
    tell: (attester, order) => {
      if (world.listening.has(attester)) world.heard.push({ attester, order });
    },
  });
}

/** As after a crash: what was in memory is gone. */
async function crash(): Promise<void> {
  await lifecycle.close();
  store.close();
  world.heard = [];
  begin();
  lifecycle.resume();
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-orchestrator-'));
  world = new World();
  begin();
  store.packages.create('package-1', { name: 'x', version: '1', provider: 'x' }, 0);
  store.packages.upload('package-1', appd(), new Uint8Array(0));
  store.packages.check('package-1', { ok: true, digest: DIGEST, builder: 'build-1', ports: [8080] });
  store.instances.create(INSTANCE, undefined, 'package-1', 0);
});
afterEach(async () => {
  await lifecycle.close();
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

const ordered = () => vi.waitFor(() => world.last());
const endOf = (operation: string) =>
  vi.waitFor(
    () => {
      const shown = store.operations.get(operation);
      expect(shown?.state).toMatch(/COMPLETED|FAILED/);
      return shown;
    },
    { timeout: 5_000 },
  );
const verified: SubjectState = { state: 'VERIFIED', reasons: [] };

function started(order: DeviceOrder, attester = 'cabinet-1', instance = order.instance): void {
  lifecycle.report(attester, {
    order: order.order,
    instance,
    outcome: 'started',
    address: 'http://127.0.0.1:1',
  });
}

describe('instantiation', () => {
  it('orders a verified device with a grant on its evidence, and is complete when the instance is VERIFIED', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { attester, order } = await ordered();
    expect(attester).toBe('cabinet-1');
    expect(order).toMatchObject({
      action: 'start',
      instance: INSTANCE,
      image: `registry.example.org/sensor-gateway@${DIGEST}`,
      ports: [8080],
      limits: { memoryMiB: 64, cpus: 0.5 },
      grant: { appInstanceId: INSTANCE, kallio: { attester: 'cabinet-1', boot: 7, image: DIGEST } },
    });
    world.instances.set(INSTANCE, verified);
    started(order);
    expect(await endOf(operation)).toMatchObject({ state: 'COMPLETED' });
    expect(store.instances.get(INSTANCE)).toMatchObject({ device: 'cabinet-1', running: true });
  });

  it('fails with the device’s own refusal, and leaves the instance nowhere', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { order } = await ordered();
    const refusal = { code: 'INSTANCE_FILE_CHANGED', message: '/bin/x is not what the signed image holds.' };
    lifecycle.report('cabinet-1', { order: order.order, instance: INSTANCE, outcome: 'refused', refusal });
    expect(await endOf(operation)).toMatchObject({ state: 'FAILED', error: refusal });
    expect(store.instances.get(INSTANCE)).toMatchObject({ device: undefined, running: false, refusal });
  });

  it('stops an instance that started and is not what it should be', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { order } = await ordered();
    const reasons = [{ code: 'INSTANCE_PROCESS_UNKNOWN', message: 'Something else runs in it.' }];
    world.instances.set(INSTANCE, { state: 'VIOLATED', reasons });
    started(order);
    expect(await endOf(operation)).toMatchObject({ state: 'FAILED', error: reasons[0] });
    const stop = await vi.waitFor(() => {
      expect(world.last().order.action).toBe('stop');
      return world.last().order;
    });
    lifecycle.report('cabinet-1', { order: stop.order, instance: INSTANCE, outcome: 'stopped' });
    expect(store.instances.get(INSTANCE)?.device).toBeUndefined();
  });

  it('finds no device where none is verified', async () => {
    world.devices = [device('cabinet-1', { state: 'STALE' })];
    const operation = lifecycle.instantiate(INSTANCE, []);
    expect(await endOf(operation)).toMatchObject({
      state: 'FAILED',
      error: { code: 'NO_VERIFIED_DEVICE' },
    });
    expect(world.heard).toEqual([]);
  });

  it('waits while the attestation server is away', async () => {
    const { KallioError } = await import('@kallio/codec');
    world.away = new KallioError('SERVER_UNREACHABLE', 'No answer.');
    const operation = lifecycle.instantiate(INSTANCE, []);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(store.operations.get(operation)?.state).toBe('STARTING');
    world.away = undefined;
    await vi.waitFor(() => world.last(), { timeout: 5_000 });
  });

  it('is one at a time for an instance', async () => {
    lifecycle.instantiate(INSTANCE, []);
    const again = expect.objectContaining({ code: 'INSTANCE_STATE' });
    expect(() => lifecycle.instantiate(INSTANCE, [])).toThrow(again);
    expect(() => lifecycle.terminate(INSTANCE)).toThrow(again);
    await ordered();
  });
});

describe('a report', () => {
  it('counts from the device that was ordered, for the instance it was ordered', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { order } = await ordered();
    world.instances.set(INSTANCE, verified);
    const unknown = expect.objectContaining({ code: 'ORDER_UNKNOWN' });
    expect(() => started(order, 'cabinet-2')).toThrow(unknown);
    expect(() => started(order, 'cabinet-1', 'instance-2')).toThrow(unknown);
    expect(() => started({ ...order, order: 'another-order' })).toThrow(unknown);
    started(order);
    expect(await endOf(operation)).toMatchObject({ state: 'COMPLETED' });
  });

  it('counts once: the device’s first word stands', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { order } = await ordered();
    world.instances.set(INSTANCE, verified);
    started(order);
    await endOf(operation);
    lifecycle.report('cabinet-1', { order: order.order, instance: INSTANCE, outcome: 'failed' });
    expect(store.instances.get(INSTANCE)).toMatchObject({ running: true });
  });

  it('that comes after the operation was given up makes the instance stop', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { order } = await ordered();
    store.orders.withdraw(operation);
    store.operations.enter(operation, 'FAILED', Date.now(), {
      code: 'ORDER_UNANSWERED',
      message: 'No answer.',
    });
    expect(store.orders.openOf('cabinet-1')).toEqual([]);
    started(order);
    await vi.waitFor(() => expect(world.last().order).toMatchObject({ action: 'stop', instance: INSTANCE }));
  });
});

describe('after a crash', () => {
  it('an operation that had not been placed is placed', async () => {
    world.listening.clear();
    const operation = lifecycle.instantiate(INSTANCE, []);
    world.listening.add('cabinet-2');
    await crash();
    const { attester, order } = await ordered();
    world.instances.set(INSTANCE, verified);
    started(order, attester);
    expect(await endOf(operation)).toMatchObject({ state: 'COMPLETED' });
  });

  it('an order that was not answered is told again, and is the same order', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const first = await ordered();
    await crash();
    const again = await ordered();
    expect(again).toEqual(first);
    expect(store.orders.openOf('cabinet-1').map(({ order }) => order)).toEqual([first.order]);
    world.instances.set(INSTANCE, verified);
    started(again.order);
    expect(await endOf(operation)).toMatchObject({ state: 'COMPLETED' });
  });

  it('a report that was taken is acted on', async () => {
    const operation = lifecycle.instantiate(INSTANCE, []);
    const { order } = await ordered();
    started(order);
    await crash();
    world.instances.set(INSTANCE, verified);
    expect(await endOf(operation)).toMatchObject({ state: 'COMPLETED' });
    expect(world.heard).toEqual([]);
  });

  it('a stop is carried on', async () => {
    const start = lifecycle.instantiate(INSTANCE, []);
    world.instances.set(INSTANCE, verified);
    started((await ordered()).order);
    await endOf(start);
    const stop = lifecycle.terminate(INSTANCE);
    await crash();
    const order = await vi.waitFor(() => {
      expect(world.last().order.action).toBe('stop');
      return world.last().order;
    });
    lifecycle.report('cabinet-1', { order: order.order, instance: INSTANCE, outcome: 'stopped' });
    expect(await endOf(stop)).toMatchObject({ state: 'COMPLETED' });
    expect(store.instances.get(INSTANCE)).toMatchObject({ device: undefined, running: false });
  });
});

describe('termination', () => {
  it('that the device could not carry out leaves the instance where it is', async () => {
    const start = lifecycle.instantiate(INSTANCE, []);
    world.instances.set(INSTANCE, verified);
    started((await ordered()).order);
    await endOf(start);
    const stop = lifecycle.terminate(INSTANCE);
    const order = await vi.waitFor(() => {
      expect(world.last().order.action).toBe('stop');
      return world.last().order;
    });
    const refusal = { code: 'RUNTIME_FAILED', message: 'podman rm failed.' };
    lifecycle.report('cabinet-1', { order: order.order, instance: INSTANCE, outcome: 'failed', refusal });
    expect(await endOf(stop)).toMatchObject({ state: 'FAILED', error: refusal });
    expect(store.instances.get(INSTANCE)).toMatchObject({ device: 'cabinet-1', running: true });
  });

  it('of what is not instantiated is refused', () => {
    expect(() => lifecycle.terminate(INSTANCE)).toThrow(expect.objectContaining({ code: 'INSTANCE_STATE' }));
    expect(() => lifecycle.terminate('nobody')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });
});
