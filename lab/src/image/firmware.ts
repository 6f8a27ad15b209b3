import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from '@kallio/e2e/process';
import { TpmMaker } from '@kallio/e2e/tpm';
import { cached, keyOf } from '../cache.ts';
import { guard } from '../machine/guard.ts';
import { Machine } from '../machine/machine.ts';
import { FIRMWARE, FIRMWARE_VARIABLES } from '../machine/qemu.ts';
import type { Say } from '../say.ts';
import type { Image } from './image.ts';

/**
 * The firmware event log of a machine that never was on any network: what this firmware on this virtual hardware
 * measures, learned once. Kernel, initrd and command line stand in it too, but are not learned from it: their reference
 * values are worked out from the files.
 */
export async function firmwareLog(image: Image, say: Say): Promise<Uint8Array> {
  const files = await Promise.all([FIRMWARE, FIRMWARE_VARIABLES].map((path) => readFile(path)));
  const version = await must('qemu-system-x86_64', ['--version']);
  const folder = await cached('firmware', keyOf(version, image.flavour, ...files), say, async (work) => {
    const dir = await mkdtemp(join(tmpdir(), 'kallio-lab-'));
    guard(dir);
    const machine = new Machine('golden', join(dir, 'golden'));
    try {
      const maker = await TpmMaker.create(join(dir, 'maker'));
      // Ports at which nothing answers: it is alone.
      const ports = { server: 1, registry: 2 };
      await maker.make(join(dir, 'tpm'));
      await machine.make({ image, ports }, { machine: 'name=golden\nregistry_port=2\n' }, join(dir, 'tpm'));
      await machine.start();
      const log = await machine.must('base64 /sys/kernel/security/tpm0/binary_bios_measurements');
      await writeFile(join(work, 'log'), Buffer.from(log, 'base64'));
    } finally {
      await machine.powerCut();
      await rm(dir, { recursive: true, force: true });
    }
  });
  return readFile(join(folder, 'log'));
}
