import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must, Site } from '@kallio/e2e/site';
import { median, type Row } from './row.ts';

const ROUNDS = 7;

/**
 * `kallio build` beside bare buildah: the same context, the same flags, each with storage of its own, built and pushed
 * to the same registry. What is compared is the whole command, start-up included.
 */
export async function run(): Promise<Row[]> {
  const site = await Site.create();
  try {
    await Promise.all([site.startRegistry(), site.makeTpms(), site.startServer()]);
    await site.startMachine(site.builder, 0);
    const context = await site.applicationContext('context');
    const times: { readonly ours: number[]; readonly bare: number[] } = { ours: [], bare: [] };
    for (let round = -1; round < ROUNDS; round++) {
      // A new layer each time, so that neither finds the other's in the registry.
      await writeFile(join(context, 'rootfs', `round-${round}`), String(round));
      const bare = await timed(() => bareBuild(site, context, round));
      const tag = `${site.registry}/kallio:${round + 1}`;
      const ours = await timed(() => site.run('build', '-t', tag, context, '--agent', site.builder.socket));
      if (round < 0) continue;
      times.bare.push(bare);
      times.ours.push(ours);
    }
    const [figure, besideFigure] = [median(times.ours), median(times.bare)];
    const most = besideFigure * 1.05 + 1000;
    return [
      {
        name: 'kallio build: session, build, signature, log, push',
        figure,
        unit: 'ms',
        beside: 'buildah bud and push, bare',
        besideFigure,
        ratio: figure / besideFigure,
        bar: `<= bare + 5 % + 1.0 s (${Math.round(most)} ms)`,
        holds: figure <= most,
      },
    ];
  } finally {
    await site.destroy();
  }
}

async function bareBuild(site: Site, context: string, round: number): Promise<void> {
  const dir = join(site.dir, `bare-${round}`);
  await mkdir(dir);
  const storage = ['--root', join(dir, 'root'), '--runroot', join(dir, 'run')];
  const tag = `${site.registry}/bare:${round + 1}`;
  await must('buildah', [...storage, 'bud', '--isolation', 'chroot', '--tag', tag, context]);
  await must('buildah', [...storage, 'push', '--tls-verify=false', '--quiet', tag]);
  await rm(dir, { recursive: true, force: true });
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await act();
  return performance.now() - started;
}
