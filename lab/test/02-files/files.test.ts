import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Device, VERIFIED, verdict } from '../support/device.ts';

describe('what a machine executes', () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open();
  });
  afterEach(async () => {
    // What was measured stays measured until the next boot.
    expect(verdict(await device.bootHonestly())).toEqual(VERIFIED);
  });

  it('stays VERIFIED when a program of the image runs that had not run before', async () => {
    await device.machine.must('/usr/bin/sha512sum /etc/hosts');
    expect(verdict(await device.evidence())).toEqual(VERIFIED);
  });

  it('is VIOLATED when a program that was changed on the disk runs', async () => {
    await device.machine.must(
      'cp /usr/bin/factor /root/factor && printf x >>/usr/bin/factor && /usr/bin/factor 6; cp /root/factor /usr/bin/factor',
    );
    const shown = await device.judged(({ state }) => state !== 'VERIFIED');
    expect(verdict(shown)).toMatchObject({ state: 'VIOLATED', codes: ['IMA_FILE_UNKNOWN'] });
    expect(shown.reasons[0]?.message).toContain('/usr/bin/factor');
  });

  it('is VIOLATED when a kernel module is loaded that has no reference value', async () => {
    await device.machine.must(
      'cp "$(modinfo -n dummy)" /root/evil.ko && printf x >>/root/evil.ko && insmod /root/evil.ko',
    );
    const shown = await device.judged(({ state }) => state !== 'VERIFIED');
    expect(verdict(shown)).toMatchObject({ state: 'VIOLATED', codes: ['IMA_FILE_UNKNOWN'] });
    expect(shown.reasons[0]?.message).toContain('/root/evil.ko');
  });
});
