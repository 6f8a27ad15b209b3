import { verifyCommand } from '../commands/verify.ts';
import { start } from '../start.ts';

/*
 * `kallio verify` and nothing else: bundled by itself it is one file to load, where the whole command is forty. Whoever
 * verifies an image before each use of it waits for the start more than for the verdict.
 */
void start(new Map([['verify', async () => verifyCommand]]));
