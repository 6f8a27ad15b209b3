import { beforeAll, describe, expect, it } from 'vitest';
import { Device, VERIFIED, verdict } from '../support/device.ts';

describe('a machine without power', () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open();
  });

  it('is VERIFIED again after a power cut in the middle of writing', async () => {
    const { boot } = await device.shown();
    await device.machine.must(
      '(while :; do dd if=/dev/urandom of=/root/junk bs=64k count=16 conv=fsync; done) >/dev/null 2>&1 &',
    );
    await device.site.run('attesters', 'attest', device.machine.name);
    await device.machine.powerCut();
    await device.machine.start();
    const shown = await device.judged((now) => now.boot !== boot);
    expect(verdict(shown)).toEqual(VERIFIED);
  });
});
