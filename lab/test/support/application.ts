import { onboard } from '@kallio/e2e/demo/job';
import type { AppPkgInfo } from '@kallio/protocol';
import { expect } from 'vitest';
import { told } from '../../src/say.ts';
import type { LabSite } from '../../src/site/site.ts';
import { say } from './say.ts';

const NAME = 'sensor-gateway';

/** Has the sample application built on a build host, which is started for it, and onboarded; once for all scenarios. */
export async function onboardedApplication(site: LabSite): Promise<void> {
  const { packages } = (await site.run('packages', 'list')) as { packages: AppPkgInfo[] };
  if (packages.some(({ operationalState }) => operationalState === 'ENABLED')) return;
  const builder = site.machine('build-1');
  await site.startMachine(builder, say);
  await site.verified(say, [builder]);
  const image = `${site.registry}/${NAME}:1`;
  await told(say, 'the sample application, built there', () => site.build(image));
  await builder.powerOff();
  expect(await onboard(site, NAME, image)).toMatchObject({ operationalState: 'ENABLED' });
}
