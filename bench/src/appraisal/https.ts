import { Machine, machineModel } from '../attester/machine.ts';
import { LoadAttester } from '../load/attester.ts';
import { HOW, startSite } from '../load/site.ts';
import type { Row } from '../row.ts';

/** Connections that always have one request under way. */
const ATTESTERS = 64;
const IMA_ENTRIES = 200;
/** Until what is compiled as it runs has been compiled: a server runs for months. */
const WARM_UP_MS = 25_000;
const SECONDS = 20;

/** Whole cycles over HTTPS: server on one core with its data on disk, load generator on the other. */
export async function overHttps(): Promise<Row[]> {
  const model = machineModel(IMA_ENTRIES);
  const machines = Array.from({ length: ATTESTERS }, (_, i) => new Machine(`device-${i}`, model));
  const site = await startSite(machines, model);
  const attesters = machines.map((machine) => new LoadAttester(machine, site));
  try {
    for (const attester of attesters) await attester.begin();
    await runFor(attesters, WARM_UP_MS);
    const before = await site.usage();
    const latencies = await runFor(attesters, SECONDS * 1000);
    const { processorMs } = await site.usage();
    const each = Math.round(((processorMs - before.processorMs) * 1000) / latencies.length);
    latencies.sort((a, b) => a - b);
    const perSecond = latencies.length / SECONDS;
    const p99 = latencies[Math.ceil(latencies.length * 0.99) - 1] ?? Number.NaN;
    const name = `appraisals over HTTPS, durable store, ${ATTESTERS} attesters, load generator on the same 2 cores, ${each} µs of processor time of the server each (${HOW})`;
    return [
      {
        name,
        figure: perSecond,
        unit: '/s',
        beside: 'the limit',
        besideFigure: 2500,
        ratio: perSecond / 2500,
        bar: 'ratio >= 1',
        holds: perSecond >= 2500,
      },
      {
        name: `${name}: p99`,
        figure: p99,
        unit: 'ms',
        beside: 'the limit',
        besideFigure: 50,
        ratio: p99 / 50,
        bar: 'ratio <= 1',
        holds: p99 <= 50,
      },
    ];
  } finally {
    for (const attester of attesters) attester.close();
    await site.stop();
  }
}

/** Every attester, cycle after cycle; the times they took, in milliseconds. */
async function runFor(attesters: readonly LoadAttester[], ms: number): Promise<number[]> {
  const latencies: number[] = [];
  const end = performance.now() + ms;
  await Promise.all(
    attesters.map(async (attester) => {
      for (let started = performance.now(); started < end; ) {
        await attester.cycle();
        const now = performance.now();
        latencies.push(now - started);
        started = now;
      }
    }),
  );
  return latencies;
}
