import { Worker } from 'node:worker_threads';
import { MAX_INPUT } from './mutate.ts';
import type { Report, Task } from './worker.ts';

/** How long a target may take for one input, in milliseconds. */
const PATIENCE_MS = 10_000;
/** How much memory a target may take, in MiB: hostile input is at most one. */
const MEMORY = 512;

/** Attacks a target in a thread of its own, which may be ended: an input that takes forever is a finding too. */
export function run(task: Omit<Task, 'shared'>, patienceMs = PATIENCE_MS): Promise<Report> {
  const shared = new SharedArrayBuffer(8 + MAX_INPUT);
  const numbers = new Int32Array(shared, 0, 2);
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: { ...task, shared } satisfies Task,
    resourceLimits: { maxOldGenerationSizeMb: MEMORY },
  });
  return new Promise((resolve, reject) => {
    let [seen, since] = [0, Date.now()];
    const watching = setInterval(() => {
      const count = Atomics.load(numbers, 0);
      if (count !== seen) [seen, since] = [count, Date.now()];
      // Before the first input it makes its target: keys, logs, signed images.
      else if (count > 0 && Date.now() - since > patienceMs) found(`no end in ${patienceMs} ms`);
    }, patienceMs / 10);
    const done = () => {
      clearInterval(watching);
      void worker.terminate();
    };
    function found(error: string): void {
      const input = new Uint8Array(shared, 8).slice(0, Atomics.load(numbers, 1));
      done();
      resolve({
        tally: { runs: Atomics.load(numbers, 0), taken: 0, refusals: 0 },
        finding: { input, error },
      });
    }
    worker.once('message', (report: Report) => {
      done();
      resolve(report);
    });
    worker.once('error', (error) => {
      if (Atomics.load(numbers, 0) > 0) return found(String(error));
      done();
      reject(error);
    });
  });
}
