import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';

// A server in a process of its own, on the data folder that it is given, each of whose threads is doomed.

const doom = new URL('./fixture-doom.ts', import.meta.url).href;
threads.Worker = class extends threads.Worker {
  constructor(text: string | URL, options?: threads.WorkerOptions) {
    super(`import(${JSON.stringify(doom)}).then(() => { ${text} });`, options);
  }
};
syncBuiltinESMExports();
await import(doom);

const [dataDir = ''] = process.argv.slice(2);
const { startServer } = await import('../src/index.ts');
const { url } = await startServer({ dataDir });
process.stdout.write(url);
