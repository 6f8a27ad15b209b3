import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { attack, attackOnce, type Tally } from './attack.ts';
import type { MakeTarget } from './target.ts';

/** What a worker is told. */
export interface Task {
  /** The module that has the targets, by their names. */
  readonly module: string;
  readonly target: string;
  readonly seed: number;
  readonly milliseconds: number;
  /** Where the input stands that is being read: inputs so far, its length, its bytes. */
  readonly shared: SharedArrayBuffer;
  /** One input, instead of many. */
  readonly input?: Uint8Array;
}

/** What it says in the end. */
export interface Report {
  readonly tally: Tally;
  readonly finding?: { readonly input: Uint8Array; readonly error: string };
}

const { module, target: name, seed, milliseconds, shared, input }: Task = workerData;
const numbers = new Int32Array(shared, 0, 2);
const bytes = new Uint8Array(shared, 8);
const folder = mkdtempSync(join(tmpdir(), 'kallio-fuzz-'));

function watch(read: Uint8Array): void {
  bytes.set(read);
  Atomics.store(numbers, 1, read.length);
  Atomics.add(numbers, 0, 1);
}

try {
  const { TARGETS }: { TARGETS: ReadonlyMap<string, MakeTarget> } = await import(module);
  const target = await TARGETS.get(name)?.(folder);
  if (target === undefined) throw new Error(`there is no target ${name}`);
  const began = performance.now();
  const { tally, finding } =
    input === undefined
      ? await attack(target, seed, () => performance.now() - began > milliseconds, watch)
      : await attackOnce(target, input, watch);
  const report: Report = {
    tally,
    ...(finding === undefined ? {} : { finding: { input: finding.input, error: inspect(finding.error) } }),
  };
  parentPort?.postMessage(report);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
