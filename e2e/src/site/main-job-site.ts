import { mainJob, type Running, setUp } from '../demo/job.ts';
import { Recorder } from '../demo/record.ts';
import { Site } from './site.ts';

/** A site on which the main job has been done. */
export interface WorkingSite {
  readonly site: Site;
  readonly running: Running;
}

/** Makes a site and does the main job on it; a site on which that fails is taken down again. */
export async function workingSite(): Promise<WorkingSite> {
  const site = await Site.create();
  const recorder = new Recorder(() => undefined);
  try {
    await setUp(site, recorder);
    return { site, running: await mainJob(site, recorder) };
  } catch (error) {
    const logs = site.logs().map(([name, lines]) => `--- ${name}\n${lines}`);
    await site.destroy();
    throw new Error(`${String(error)}\n${logs.join('\n')}`);
  }
}
