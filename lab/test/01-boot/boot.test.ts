import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { repackInitrd } from '../../src/image/initrd.ts';
import { Device, VERIFIED, verdict } from '../support/device.ts';

describe('what a machine boots', () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open();
  });
  afterAll(async () => {
    expect(verdict(await device.bootHonestly())).toEqual(VERIFIED);
  });

  it('is VERIFIED at tier B where it is what was installed', async () => {
    expect(verdict(await device.shown())).toEqual(VERIFIED);
  });

  it('is VIOLATED with another kernel command line', async () => {
    const { image } = await device.machine.made();
    const shown = await device.bootWith({ commandLine: `${image.commandLine} init=/bin/sh.real` });
    expect(shown.state).toBe('VIOLATED');
    expect(shown.reasons[0]?.code).toBe('EVENT_UNKNOWN');
    expect(shown.reasons[0]?.message).toContain('in PCR 9');
  });

  it('is VIOLATED with one byte of the initrd changed', async () => {
    const { image } = await device.machine.made();
    const initrd = join(device.site.dir, 'initrd-one-byte');
    const bytes = await readFile(image.initrd);
    // The modification time in the gzip header: it unpacks as before.
    bytes.writeUInt8(bytes.readUInt8(4) ^ 1, 4);
    await writeFile(initrd, bytes);
    const shown = await device.bootWith({ initrd });
    expect(shown.state).toBe('VIOLATED');
    expect(verdict(shown).codes).toContain('EVENT_UNKNOWN');
    await rm(initrd);
  });

  it('is VIOLATED where the initrd loads no IMA policy', async () => {
    const { image } = await device.machine.made();
    const initrd = join(device.site.dir, 'initrd-without-policy');
    await repackInitrd(image.initrdTree, initrd, async (tree) => {
      const init = await readFile(join(tree, 'init'), 'utf8');
      await writeFile(join(tree, 'init'), init.replace(/^.*>\/sys\/kernel\/security\/ima\/policy.*$/m, ':'));
    });
    const shown = await device.bootWith({ initrd });
    expect(shown.state).toBe('VIOLATED');
    expect(verdict(shown).codes).toContain('EVENT_UNKNOWN');
    await rm(initrd);
  });
});
