import { askAhead, type SignedSource } from '@kallio/signature';
import type { Context } from '../context.ts';
import { EXIT } from '../output/exit.ts';
import { Output } from '../output/output.ts';
import { directStreams } from '../output/streams.ts';
import { verify } from '../verifying.ts';
import { type Asked, plainFlags } from './flags.ts';

/*
 * `kallio verify` and nothing else: bundled by itself it is one file to load, where the whole command is forty. Whoever
 * verifies an image before each use of it waits for the start more than for the verdict.
 */
async function run(): Promise<void> {
  const asked = plainFlags(process.argv.slice(3));
  if (asked !== undefined) process.exitCode = await judge(asked);
  else {
    const [{ start }, { verifyCommand }] = await Promise.all([
      import('../start.ts'),
      import('../commands/verify.ts'),
    ]);
    await start(new Map([['verify', async () => verifyCommand]]));
  }
  // All has been said, and no thread of this command waits for a device: what Node would still put away ends with it.
  process.exit();
}

/** As the whole command does it. */
async function judge({ image, flags, json }: Asked): Promise<number> {
  const context: Context = { output: new Output(directStreams(), json), exit: EXIT.ok };
  try {
    await verify(context, image, flags, askFirst);
    return context.exit;
  } catch (error) {
    return context.output.failure(error);
  }
}

/** Asks, and lets the questions go out: what this command is made of is loaded and read while they are answered. */
async function askFirst(source: SignedSource, reference: string): Promise<SignedSource> {
  const asked = askAhead(source, reference);
  await new Promise((resolve) => setImmediate(resolve));
  return asked;
}

void run();
