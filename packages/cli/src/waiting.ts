import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { cliError } from './output/output.ts';

/** Longer than the server itself waits for a device that does not answer: it then says more than a command that gave up. */
const WAIT_SECONDS = 900;
const POLL_MS = 200;
/** How often it is said that something goes on. */
const SAID_MS = 15_000;

/** Options of commands that wait for what goes on in the server. */
export interface WaitFlags {
  readonly wait: string;
}

/** Adds `--wait <seconds>`. */
export function waitOption(command: Command): Command {
  return command.option('--wait <seconds>', 'wait for its end so long at most', String(WAIT_SECONDS));
}

/**
 * Asks until what goes on in the server has ended, and gives how; says every now and then how it stands. `CLI_WAIT`
 * when the time of `--wait` is over before: it goes on all the same.
 */
export async function untilEnded<T>(
  { output }: Context,
  { wait: given }: WaitFlags,
  what: {
    /** Names it, for a sentence: `the operation`. */
    readonly name: string;
    readonly ask: () => Promise<T>;
    readonly ended: (shown: T) => boolean;
    /** How it stands, in a word. */
    readonly state: (shown: T) => string;
    /** Where its end will be seen. */
    readonly hint: string;
  },
): Promise<T> {
  if (!/^\d{1,6}$/.test(given)) {
    throw cliError('USAGE', `--wait takes whole seconds, and not ${given}.`);
  }
  const started = performance.now();
  for (let said = started; ; await wait(POLL_MS)) {
    const shown = await what.ask();
    if (what.ended(shown)) return shown;
    const now = performance.now();
    if (now - started > Number(given) * 1000) {
      throw cliError(
        'CLI_WAIT',
        `${what.name} has not ended within ${given} s: ${what.state(shown)}.`,
        `It goes on: see ${what.hint}.`,
      );
    }
    if (now - said < SAID_MS) continue;
    said = now;
    output.progress(`${what.name}: ${what.state(shown)} for ${Math.round((now - started) / 1000)} s`);
  }
}
