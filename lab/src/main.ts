import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { capture } from './capture.ts';
import { LabSite } from './site/site.ts';

const USAGE = `usage: npm run lab -- COMMAND

  up [--root plain|verity] [--builders N] [--devices N]   build what is missing, start server, registry, machines: one
                                                          build host or more, and two devices unless told otherwise
  status                                                  machines, and how the server sees them
  console MACHINE                                         what its firmware, kernel and set-up printed
  exec MACHINE SCRIPT                                     run a shell script in it
  reboot MACHINE                                          restart it as an operating system does
  power-cut MACHINE                                       take the power from it and its TPM at once; start it with: start
  start MACHINE                                           power it on
  capture MACHINE FOLDER                                  take its logs and PCRs, for tests
  down                                                    end everything, remove everything but what is cached

  --root plain    a root file system that can be written, watched by IMA: tier B (default)
  --root verity   a root file system under dm-verity, its root hash on the measured command line: tier A
`;

/** Where the lab that `up` started is found again. */
const POINTER = fileURLToPath(new URL('../../.kallio/lab', import.meta.url));

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  return 1;
});

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      root: { type: 'string', default: 'plain' },
      builders: { type: 'string', default: '1' },
      devices: { type: 'string', default: '2' },
      help: { type: 'boolean', default: false },
    },
  });
  const [command, name, script] = positionals;
  const { root, builders, devices } = values;
  if (values.help) return print(USAGE);
  switch (command) {
    case 'up':
      if ((root !== 'plain' && root !== 'verity') || !isCount(builders) || !isCount(devices)) break;
      // The image policy names who may build: a site without a build host has none.
      if (Number(builders) === 0) break;
      return up(root, Number(builders), Number(devices));
    case 'status':
      return status(await running());
    case 'down':
      return down();
    case 'console':
      if (name === undefined) break;
      return print(await (await machineOf(name)).consoleText());
    case 'exec': {
      if (name === undefined || script === undefined) break;
      const { code, stdout, stderr } = await (await machineOf(name)).exec(script);
      process.stderr.write(stderr);
      process.stdout.write(stdout);
      return code;
    }
    case 'capture':
      if (name === undefined || script === undefined) break;
      for (const file of await capture(await machineOf(name), script)) say(file);
      return 0;
    case 'reboot':
    case 'power-cut':
    case 'start': {
      if (name === undefined) break;
      const machine = await machineOf(name);
      say(`… ${command} ${name}`);
      if (command === 'reboot') await machine.reboot();
      else if (command === 'start') await machine.start();
      else await machine.powerCut();
      say(`✔ ${command} ${name}`);
      return 0;
    }
  }
  process.stderr.write(USAGE);
  return 2;
}

async function up(flavour: 'plain' | 'verity', builders: number, devices: number): Promise<number> {
  if (existsSync(POINTER)) {
    say(`A lab is up already, in ${await readFile(POINTER, 'utf8')}. End it with: npm run lab -- down`);
    return 1;
  }
  const names = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, i) => `${prefix}-${i + 1}`);
  const site = await LabSite.create({
    flavour,
    builders: names('build', builders),
    devices: names('cabinet', devices),
  });
  await mkdir(join(POINTER, '..'), { recursive: true });
  await writeFile(POINTER, site.dir);
  try {
    await site.startHost(say);
    await Promise.all(site.machines.map((machine) => site.startMachine(machine, say)));
    await site.verified(say);
  } catch (error) {
    say(await site.lastWords());
    await down();
    throw error;
  }
  say('');
  for (const [key, value] of Object.entries(site.operator)) say(`export ${key}=${value}`);
  say('npm run --silent kallio -- attesters list');
  return 0;
}

async function status(site: LabSite): Promise<number> {
  const attesters = await site.attesters();
  for (const { name, running: on } of site.machines) {
    const seen = attesters.find(({ attester }) => attester === name);
    const verdict = seen === undefined ? 'unknown to the server' : `${seen.state}, tier ${seen.tier ?? '-'}`;
    say(`${name.padEnd(12)} ${on ? 'on ' : 'off'}  ${verdict}  ${seen?.reasons[0]?.code ?? ''}`.trimEnd());
  }
  return 0;
}

async function down(): Promise<number> {
  if (existsSync(POINTER)) await (await running()).destroy();
  await rm(POINTER, { force: true });
  return 0;
}

async function running(): Promise<LabSite> {
  if (!existsSync(POINTER)) throw new Error('No lab is up. Start one with: npm run lab -- up');
  return LabSite.open(await readFile(POINTER, 'utf8'));
}

async function machineOf(name: string) {
  const machine = (await running()).machines.find((one) => one.name === name);
  if (machine === undefined)
    throw new Error(`There is no machine ${name}; npm run lab -- status names them.`);
  return machine;
}

function isCount(text: string): boolean {
  return /^\d{1,2}$/.test(text);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
