import type { TestProject } from 'vitest/node';
import { LabSite } from '../../src/site/site.ts';
import { say } from './say.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Folder of the lab that all scenarios work on. */
    readonly lab: string;
  }
}

/** One lab for all scenarios: a device whose root IMA watches. It is taken down at the end, also when this is killed. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const site = await LabSite.create({
    flavour: 'plain',
    builders: ['build-1'],
    devices: ['cabinet-1', 'cabinet-2'],
  });
  site.guard();
  try {
    await site.startHost(say);
    // The other machines are started by the scenarios that need them.
    const device = site.machine('cabinet-1');
    await site.startMachine(device, say);
    await site.verified(say, [device]);
  } catch (error) {
    await site.destroy();
    throw error;
  }
  project.provide('lab', site.dir);
  return () => site.destroy();
}
