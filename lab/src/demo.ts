import { once } from 'node:events';
import { mainJob } from '@kallio/e2e/demo/job';
import { Recorder } from '@kallio/e2e/demo/record';
import { table } from '@kallio/e2e/demo/table';
import type { Flavour } from './image/image.ts';
import { LabSite } from './site/site.ts';

/*
 * npm run demo -- --lab [--verity] [--devices N] [--json]
 * The main job on real machines: each boots firmware and a stock kernel that measure into a TPM of its own.
 */
const USAGE = `usage: npm run demo -- --lab [--verity] [--two] [--json]

  --verity   machines with a root under dm-verity (tier A) instead of one that IMA alone watches (tier B)
  --two      two devices instead of one
  --json     print only the record, as JSON, on standard output
`;

const LIMITS = `What these machines can't show, said plainly: their TPMs and firmware are programs of this host, which is believed as
their hypervisor. Whoever has root on this host could forge all of it; nobody on the machines could.
`;

const flags = new Set(process.argv.slice(2));
if ([...flags].some((flag) => !['--verity', '--two', '--json'].includes(flag))) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  process.exitCode = await demo(flags.has('--verity') ? 'verity' : 'plain', flags);
}

async function demo(flavour: Flavour, options: ReadonlySet<string>): Promise<number> {
  // With --json, standard output holds the record alone.
  const say = (line: string) =>
    void (options.has('--json') ? process.stderr : process.stdout).write(`${line}\n`);
  const stopped = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  const devices = options.has('--two') ? ['cabinet-1', 'cabinet-2'] : ['cabinet-1'];
  const site = await LabSite.create({ flavour, builders: ['build-1'], devices });
  site.guard();
  const recorder = new Recorder(say);
  let complete = false;
  try {
    const work = async () => {
      await recorder.step('images, reference values, server, registry', async () => {
        await site.startHost(say);
        return {
          value: undefined,
          proof: `Debian 12 with its stock kernel; policy from a scan of that root; registry at ${site.registry}`,
        };
      });
      await recorder.step('boot and enrol a build host and devices', async () => {
        await Promise.all(site.machines.map((machine) => site.startMachine(machine, say)));
        const attesters = await site.verified(say);
        const proof = attesters.map(({ attester, tier }) => `${attester} VERIFIED at tier ${tier ?? '-'}`);
        return { value: undefined, proof: `${proof.join(', ')}: firmware, kernel, command line, IMA` };
      });
      await mainJob(site, recorder);
      return true;
    };
    complete = await Promise.race([work(), stopped.then(() => false)]);
    if (!complete) say('\nStopped by a signal; taking everything down.');
  } catch (error) {
    say(`\nThe demo stopped: ${error instanceof Error ? error.message : String(error)}`);
    say(await site.lastWords());
  }
  const record = recorder.finish(complete);
  say(`\n${table(record)}\n${LIMITS}`);
  if (options.has('--json')) process.stdout.write(`${JSON.stringify(record, null, 2)}\n`);
  await site.destroy();
  return record.ok ? 0 : 1;
}
