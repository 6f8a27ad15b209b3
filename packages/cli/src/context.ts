import { Command } from 'commander';
import type { Output } from './output/output.ts';

/** What a command works with. */
export interface Context {
  readonly output: Output;
  /** The exit code when nothing was thrown: a verdict may be a refusal. */
  exit: number;
}

/** A command that talks to a server. */
export function serverOptions(command: Command): Command {
  return command
    .option('--server <url>', 'the server, https://HOST:PORT (or KALLIO_SERVER)')
    .option('--ca <file>', 'PEM of the server’s authority (or KALLIO_CA)')
    .option('--token-file <file>', 'file with the bearer token (or KALLIO_TOKEN_FILE)');
}

/** A sub-command with its description and an example. */
export function command(name: string, description: string, example: string): Command {
  return new Command(name).description(description).addHelpText('after', `\nExample:\n  ${example}`);
}
