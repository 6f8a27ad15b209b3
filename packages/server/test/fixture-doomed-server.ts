import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';

// A server in a process of its own, on the data folder that it is given, each of whose threads is doomed. Start it in this
// folder, from where its threads import.

threads.Worker = class extends threads.Worker {
  constructor(text: string | URL, options?: threads.WorkerOptions) {
    super(`import('./fixture-doom.ts').then(() => { ${text} });`, options);
  }
};
syncBuiltinESMExports();
await import('./fixture-doom.ts');

const [dataDir = ''] = process.argv.slice(2);
const { startServer } = await import('../src/index.ts');
const { url } = await startServer({ dataDir });
process.stdout.write(url);
