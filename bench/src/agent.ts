import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '@kallio/e2e/process';
import { Site } from '@kallio/e2e/site';
import type { Options } from './options.ts';
import { median, type Row } from './row.ts';

const INTERVAL_SECONDS = 60;
/** Long enough for several turns of the interval. */
const SECONDS = 240;
/** The kernel counts a process's time in these: USER_HZ of every architecture that Linux shows to programs. */
const TICKS_PER_SECOND = 100;
const MEGABYTE = 1_000_000;
/** Lines of the agent's log: every one. */
const ALL = Number.POSITIVE_INFINITY;

/**
 * What an agent costs that has nothing else to do than to attest: a device's, started as an operator would, on a TPM in
 * software, with a real server. First it enrols and attests; then its memory is looked at every second, and its time over
 * the whole while.
 */
export async function run({ seconds = SECONDS }: Options): Promise<Row[]> {
  const site = await Site.create();
  const [device] = site.devices;
  try {
    await Promise.all([site.makeTpms([device]), site.startServer()]);
    await site.startMachine(device, 0, { intervalSeconds: INTERVAL_SECONDS });
    const { agentPid: pid } = device;
    await until('the agent to attest', 120, async () => attested(device.agentLog()) || undefined);
    await sleep(5000);
    const [before, shown] = [cpuSeconds(pid), attested(device.agentLog(ALL))];
    const started = performance.now();
    const resident: number[] = [];
    while (performance.now() - started < seconds * 1000) {
      resident.push(residentBytes(pid));
      await sleep(1000);
    }
    const share = ((cpuSeconds(pid) - before) * 1000) / (performance.now() - started);
    const times = attested(device.agentLog(ALL)) - shown;
    if (times < Math.floor(seconds / INTERVAL_SECONDS) - 1) throw new Error(`it attested ${times} times`);
    const most = Math.max(...resident) / MEGABYTE;
    return [
      limit('agent: resident memory at its highest', most, 'MB', 100),
      limit('agent: resident memory, median', median(resident) / MEGABYTE, 'MB', 100),
      limit(`agent: processor, attesting every ${INTERVAL_SECONDS} s`, share * 100, '% of a core', 1),
    ];
  } finally {
    await site.destroy();
  }
}

function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kilobytes === undefined) throw new Error('the agent is gone');
  return Number(kilobytes) * 1024;
}

/** Time in user and kernel mode (proc_pid_stat(5), fields 14 and 15). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function attested(log: string): number {
  return log.split('"msg":"attested"').length - 1;
}

function limit(name: string, figure: number, unit: string, most: number): Row {
  return {
    name,
    figure,
    unit,
    beside: 'the bar',
    besideFigure: most,
    ratio: figure / most,
    bar: `<= ${most} ${unit}`,
    holds: figure <= most,
  };
}
