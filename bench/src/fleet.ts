import { setTimeout as wait } from 'node:timers/promises';
import { Machine, machineModel } from './attester/machine.ts';
import { LoadAttester } from './load/attester.ts';
import { HOW, type Site, startSite } from './load/site.ts';
import type { Options } from './options.ts';
import type { Row } from './row.ts';

const PERIOD_MS = 30_000;
const IMA_ENTRIES = 50;
/** Attesters that begin at one time. */
const AT_ONCE = 16;
/** Time in which all connect, before anything is counted: as after a power cut of a site, in an order that chance gives. */
const CONNECT_MS = 4 * PERIOD_MS;
/** When an attester comes again that was not answered, or was told to come later. */
const AGAIN_MS = 5000;
/** The server's heap has its size once every attester has shown evidence twice. */
const SETTLED_MS = 2 * PERIOD_MS;

/** Many attesters, each with a connection of its own and evidence every 30 seconds, spread over the period. */
export async function run({ seconds = 600, attesters: count = 10_000 }: Options): Promise<Row[]> {
  const model = machineModel(IMA_ENTRIES);
  const machines = Array.from({ length: count }, (_, i) => new Machine(`device-${i}`, model));
  const site = await startSite(machines, model, { certificateSeconds: 86_400 });
  const attesters = machines.map((machine) => new LoadAttester(machine, site));
  try {
    await beginAll(attesters);
    const memory = watchMemory(site);
    const cycles = await runAll(attesters, seconds * 1000);
    return rowsOf(cycles, await memory.stop(), count, seconds);
  } finally {
    for (const attester of attesters) attester.close();
    await site.stop();
  }
}

async function beginAll(attesters: readonly LoadAttester[]): Promise<void> {
  const waiting = attesters.values();
  let begun = 0;
  const one = async () => {
    for (const attester of waiting) {
      await attester.begin();
      if (++begun % 1000 === 0) progress(`${begun} of ${attesters.length} attesters have a certificate`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

interface Cycles {
  /** Milliseconds from when each was due to its answer. */
  readonly latencies: number[];
  /** Those that were answered when the next was due already, or not at all. */
  missed: number;
  /** What went wrong on the way, and how often. */
  readonly failures: Map<string, number>;
}

async function runAll(attesters: readonly LoadAttester[], ms: number): Promise<Cycles> {
  const cycles: Cycles = { latencies: [], missed: 0, failures: new Map() };
  const begin = performance.now();
  const counted = begin + CONNECT_MS;
  await Promise.all(
    attesters.map(async (attester, i) => {
      const first = begin + (CONNECT_MS * i) / attesters.length;
      for (let due = first; due < counted + ms; due += PERIOD_MS) {
        await wait(Math.max(0, due - performance.now()));
        const answered = await cycleBefore(due + PERIOD_MS, attester, cycles.failures);
        if (due < counted) continue;
        if (answered === undefined) cycles.missed++;
        else cycles.latencies.push(answered - due);
      }
    }),
  );
  for (const [why, times] of cycles.failures) progress(`${times} times: ${why}`);
  return cycles;
}

/** When a cycle was answered; not answered, it is tried again until the next is due, as an agent does. */
async function cycleBefore(
  deadline: number,
  attester: LoadAttester,
  failures: Map<string, number>,
): Promise<number | undefined> {
  while (performance.now() < deadline) {
    try {
      await attester.cycle();
      const now = performance.now();
      return now <= deadline ? now : undefined;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      failures.set(why, (failures.get(why) ?? 0) + 1);
      attester.close();
      await wait(AGAIN_MS);
    }
  }
  return undefined;
}

/** Resident memory of the server, MB, every ten seconds. */
function watchMemory(site: Site): { stop(): Promise<{ at: number; mb: number }[]> } {
  const seen: { at: number; mb: number }[] = [];
  const begin = performance.now();
  const look = async () => {
    const mb = (await site.usage()).resident / 2 ** 20;
    const at = performance.now() - begin;
    seen.push({ at, mb });
    progress(`${Math.round(at / 1000)} s: the server has ${mb.toFixed(0)} MB`);
  };
  let last = look();
  const timer = setInterval(() => {
    last = last.then(look);
  }, 10_000);
  return {
    stop: async () => {
      clearInterval(timer);
      await last;
      await look();
      return seen;
    },
  };
}

function rowsOf(
  { latencies, missed }: Cycles,
  memory: readonly { at: number; mb: number }[],
  count: number,
  seconds: number,
): Row[] {
  const of = `${count} simulated attesters, evidence every ${PERIOD_MS / 1000} s each, for ${seconds} s after all have connected (${HOW})`;
  const sorted = latencies.toSorted((a, b) => a - b);
  const p99 = sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Number.NaN;
  const end = memory.at(-1)?.mb ?? Number.NaN;
  // A short run has no time to settle: then the first figure is all there is.
  const settled = memory.find(({ at }) => at >= CONNECT_MS + SETTLED_MS)?.mb ?? memory[0]?.mb ?? Number.NaN;
  return [
    {
      name: `${of}: missed deadlines of ${latencies.length + missed} cycles`,
      figure: missed,
      unit: 'cycles',
      beside: 'the limit',
      besideFigure: 0,
      ratio: missed === 0 ? 1 : Number.POSITIVE_INFINITY,
      bar: 'none',
      holds: missed === 0 && latencies.length > 0,
    },
    {
      name: `${of}: from due to answered, p99`,
      figure: p99,
      unit: 'ms',
      beside: 'the period, which is the deadline',
      besideFigure: PERIOD_MS,
      ratio: p99 / PERIOD_MS,
      bar: 'ratio <= 1',
      holds: p99 <= PERIOD_MS,
    },
    {
      name: `${of}: resident memory of the server at the end`,
      figure: end,
      unit: 'MB',
      beside: 'after two periods',
      besideFigure: settled,
      ratio: end / settled,
      bar: 'ratio <= 1.15',
      holds: end / settled <= 1.15,
    },
  ];
}

function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}
