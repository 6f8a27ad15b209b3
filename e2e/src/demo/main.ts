import { once } from 'node:events';
import { Site } from '../site/site.ts';
import { attacks } from './attacks.ts';
import { mainJob, setUp } from './job.ts';
import { Recorder } from './record.ts';
import { table } from './table.ts';

/*
 * npm run demo [-- --keep] [-- --json]
 * The main job from an empty folder, then five attacks on it. Exit code 0 when every step went as it should.
 */
const USAGE = `usage: npm run demo [-- --keep] [-- --json]

  --keep   leave everything running and say where, until Ctrl-C
  --json   print only the record, as JSON, on standard output
`;

const LIMITS = `What this machine can't show, said plainly: the demo's TPMs are software and see neither firmware nor kernel, so
there is no firmware event log and no IMA log, and every machine attests at tier C. The two devices share this kernel;
each looks only at containers of its own storage.
`;

const flags = new Set(process.argv.slice(2));
if ([...flags].some((flag) => flag !== '--keep' && flag !== '--json')) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  process.exitCode = await demo({ keep: flags.has('--keep'), json: flags.has('--json') });
}

async function demo(options: { readonly keep: boolean; readonly json: boolean }): Promise<number> {
  // With --json, standard output holds the record alone.
  const say = (line: string) => void (options.json ? process.stderr : process.stdout).write(`${line}\n`);
  const stopped = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  const site = await Site.create();
  const recorder = new Recorder(say);
  let complete = false;
  try {
    const work = async () => {
      await setUp(site, recorder);
      await attacks(site, recorder, await mainJob(site, recorder));
      return true;
    };
    complete = await Promise.race([work(), stopped.then(() => false)]);
    if (!complete) say('\nStopped by a signal; taking everything down.');
  } catch (error) {
    say(`\nThe demo stopped: ${error instanceof Error ? error.message : String(error)}`);
    for (const [name, lines] of site.logs()) say(`\n--- ${name}\n${lines}`);
  }
  const record = recorder.finish(complete);
  say(`\n${table(record)}\n${LIMITS}`);
  if (options.json) process.stdout.write(`${JSON.stringify(record, null, 2)}\n`);
  if (options.keep && complete) {
    say(site.addresses());
    await stopped;
  }
  await site.destroy();
  return record.ok ? 0 : 1;
}
