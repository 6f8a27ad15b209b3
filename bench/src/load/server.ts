import { startServer } from '@kallio/server';

/*
 * The server of a benchmark, a process of its own: node server.ts DATA_DIR. Tells its parent where it listens, answers
 * every message with its memory and processor time, and ends with its parent.
 */
const [dataDir = ''] = process.argv.slice(2);
const server = await startServer({ dataDir });
process.send?.({ url: server.url });
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ resident: process.memoryUsage.rss(), processorMs: (user + system) / 1000 });
});
process.on('disconnect', () => {
  server.close().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});
