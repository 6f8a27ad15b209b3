import { start } from '@kallio/e2e/demo/job';
import { beforeAll, describe, expect, it } from 'vitest';
import { type KernelUpdate, kernelUpdate } from '../../src/image/update.ts';
import { onboardedApplication } from '../support/application.ts';
import { Device, VERIFIED, verdict } from '../support/device.ts';
import { say } from '../support/say.ts';

describe('another kernel', () => {
  let device: Device;
  let update: KernelUpdate;
  beforeAll(async () => {
    device = await Device.open();
    await onboardedApplication(device.site);
    const { image } = await device.machine.made();
    update = await kernelUpdate(image, say);
    const address = await device.site.publish(update.package);
    // As a package manager installs it: beside the kernel that runs.
    await device.machine.must(
      `curl --silent --fail ${address} -o /root/kernel && tar -xzf /root/kernel -C /`,
    );
  });

  it('is installed, and changes nothing before it is booted', async () => {
    expect(await device.machine.must('uname -r')).not.toContain(update.release);
    expect(verdict(await device.evidence())).toEqual(VERIFIED);
  });

  it('that nobody announced is VIOLATED: kernel, initrd and modules are named, and the device is given nothing', async () => {
    const shown = await device.bootWith(update);
    expect(await device.machine.must('uname -r')).toContain(update.release);
    expect(verdict(shown)).toMatchObject({
      state: 'VIOLATED',
      codes: expect.arrayContaining(['EVENT_UNKNOWN', 'IMA_FILE_UNKNOWN']),
    });
    const named = shown.reasons.map(({ message }) => message).join('\n');
    expect(named).toContain('in PCR 4');
    expect(named).toContain('in PCR 9');
    expect(named).toContain(`/lib/modules/${update.release}/`);
    const refused = await start(device.site, '--device', device.machine.name);
    expect(refused.operation.error).toMatchObject({
      code: 'NO_VERIFIED_DEVICE',
      message: expect.stringContaining(`${device.machine.name} is VIOLATED`),
    });
    const { platform, rederived } = await device.explained(shown);
    expect(rederived).toBe('same');
    expect(platform.refusals.flatMap(({ shows }) => shows).join('\n')).toContain(
      'EFI_BOOT_SERVICES_APPLICATION',
    );
  });

  it('that was announced is VERIFIED after the reboot, and so is going back', async () => {
    const installed = await device.bootHonestly();
    expect(verdict(installed)).toEqual(VERIFIED);

    const id = `linux ${update.release}`;
    await device.site.announce(update, { id, boots: 3 });
    const announced = await device.evidence();
    expect(verdict(announced)).toEqual(VERIFIED);
    expect(await device.limits(announced)).toContain(`Update ${id} is announced and was not seen yet`);

    const updated = await device.bootWith(update);
    expect(await device.machine.must('uname -r')).toContain(update.release);
    expect(verdict(updated)).toEqual(VERIFIED);
    expect(await device.limits(updated)).toContain(`Update ${id} is in use: `);

    const back = await device.bootHonestly();
    expect(await device.machine.must('uname -r')).not.toContain(update.release);
    expect(verdict(back)).toEqual(VERIFIED);
    expect(await device.limits(back)).toContain(`Update ${id} was in use, and this boot is back`);
  });
});
