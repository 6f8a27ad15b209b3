import { verifyCommand } from '../commands/verify.ts';
import { start } from '../start.ts';

/*
 * `kallio verify` and nothing else: bundled by itself it is one file to load, where the whole command is forty. Whoever
 * verifies an image before each use of it waits for the start more than for the verdict.
 */
async function run(): Promise<void> {
  await start(new Map([['verify', async () => verifyCommand]]));
  // All has been said, and no thread of this command waits for a device: what Node would still put away ends with it.
  process.exit();
}

void run();
