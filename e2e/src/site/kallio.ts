import { fileURLToPath } from 'node:url';
import { type Finished, type RunOptions, run } from './process.ts';

/** What `npx kallio` starts. */
const KALLIO = fileURLToPath(new URL('../../../packages/cli/bin/kallio.cjs', import.meta.url));

/** Command and arguments that start `kallio` as a process of its own. */
export function kallioCommand(args: readonly string[]): readonly [string, readonly string[]] {
  return [process.execPath, [KALLIO, ...args]];
}

/** A refusal as the command prints it with `--json`. */
export interface CommandError {
  readonly code: string;
  readonly message: string;
  readonly pointer?: string;
}

/** How a command with `--json` ended. */
export interface Outcome {
  readonly exit: number;
  /** What it printed on standard output, parsed. */
  readonly json: unknown;
  /** The refusal, where it ended with one. */
  readonly error: CommandError | undefined;
  readonly finished: Finished;
}

/** Runs a `kallio` command with `--json` to its end, which has to come within {@link RunOptions.timeoutMs}. */
export async function kallio(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  timing: Pick<RunOptions, 'timeoutMs'> = {},
): Promise<Outcome> {
  const [command, all] = kallioCommand([...args, '--json']);
  const finished = await run(command, all, { ...timing, env });
  const json = parse(finished.stdout);
  return { exit: finished.code, json, error: errorOf(json) ?? errorOf(parse(finished.stderr)), finished };
}

/** Runs a `kallio` command that must succeed, and gives what it printed, parsed. */
export async function mustKallio(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  timing: Pick<RunOptions, 'timeoutMs'> = {},
): Promise<unknown> {
  const outcome = await kallio(args, env, timing);
  if (outcome.exit === 0) return outcome.json;
  const why =
    outcome.error === undefined ? outcome.finished.stderr : `${outcome.error.code}: ${outcome.error.message}`;
  throw new Error(`kallio ${args.slice(0, 2).join(' ')} ended with ${outcome.exit}: ${why}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function errorOf(json: unknown): CommandError | undefined {
  if (typeof json !== 'object' || json === null || !('error' in json)) return undefined;
  const { error } = json as { error: unknown };
  if (typeof error !== 'object' || error === null || !('code' in error) || !('message' in error))
    return undefined;
  return error as CommandError;
}
