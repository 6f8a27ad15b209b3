import { type Started, start } from '@kallio/e2e/demo/job';
import { until } from '@kallio/e2e/process';
import type { AppInstanceInfo } from '@kallio/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { onboardedApplication } from '../support/application.ts';
import { Device, VERIFIED, verdict } from '../support/device.ts';

describe('between the grant of an instance and its start', () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open();
    await onboardedApplication(device.site);
  });

  /** Has an instance granted to a device that stands still, lets something happen to it, and waits for the end. */
  async function granted(meanwhile: () => Promise<void>): Promise<Started> {
    const { machine, site } = device;
    machine.freeze();
    const ended = start(site, '--device', machine.name);
    await until('the grant', 60, async () => {
      const { apps } = (await site.run('apps', 'list')) as { apps: AppInstanceInfo[] };
      return apps.find(
        ({ kallio, instantiationState }) =>
          kallio?.device === machine.name && instantiationState === 'NOT_INSTANTIATED',
      );
    });
    await meanwhile();
    return ended;
  }

  it('a device may stand still: it starts the instance when it goes on', async () => {
    const { operation, instance } = await granted(async () => device.machine.thaw());
    expect(operation).toMatchObject({ operationState: 'COMPLETED' });
    expect(instance.kallio?.state).toBe('VERIFIED');
    await device.site.run('apps', 'stop', instance.id);
  });

  it('a device that was rebooted starts nothing: the grant was for the boot before', async () => {
    const { boot } = await device.shown();
    const { operation, instance } = await granted(async () => {
      await device.machine.powerCut();
      await device.machine.start();
    });
    expect(operation).toMatchObject({ operationState: 'FAILED', error: { code: 'GRANT_MISMATCH' } });
    expect(instance.kallio?.state).not.toBe('VERIFIED');
    expect(await device.machine.must('podman ps --quiet')).toBe('');
    // It did nothing wrong: it is given the next one, for this boot.
    const shown = await device.judged((now) => now.boot !== boot);
    expect(verdict(shown)).toEqual(VERIFIED);
    const next = await start(device.site, '--device', device.machine.name);
    expect(next.operation).toMatchObject({ operationState: 'COMPLETED' });
    await device.site.run('apps', 'stop', next.instance.id);
  });
});
