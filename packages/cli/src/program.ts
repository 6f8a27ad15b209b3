import { Command, CommanderError } from 'commander';
import type { Context } from './context.ts';
import { EXIT } from './output/exit.ts';
import { cliError, Output, type Streams } from './output/output.ts';

/** Makes one command. */
export type Add = (context: Context) => Command;

/** Commands by name, in the order of the help. */
export type Commands = ReadonlyMap<string, () => Promise<Add>>;

/** Runs one command line and gives its exit code. Never throws, never ends the process. */
export async function runProgram(
  commands: Commands,
  args: readonly string[],
  streams: Streams,
): Promise<number> {
  const output = new Output(streams, args.includes('--json'));
  const context: Context = { output, exit: EXIT.ok };
  const program = new Command('kallio')
    .description('Trusted computing services for the multi-access edge cloud.')
    .version('0.1.0')
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ writeOut: streams.out, writeErr: () => undefined })
    .addHelpText(
      'after',
      '\nEvery command takes --json. Exit codes: 0 yes, 1 refused or failed, 2 unusable input.',
    );
  for (const add of await commandsFor(commands, args)) program.addCommand(settle(add(context), streams));
  try {
    await program.parseAsync(args, { from: 'user' });
    return context.exit;
  } catch (error) {
    if (!(error instanceof CommanderError)) return output.failure(error);
    if (error.exitCode === 0) return EXIT.ok;
    if (error.code === 'commander.help') return EXIT.usage;
    output.failure(
      cliError('USAGE', sentence(error.message), 'See kallio --help, or --help of the command.'),
    );
    return EXIT.usage;
  }
}

/** The command that is asked for; all of them where that is no command, as help and errors tell of all. */
async function commandsFor(commands: Commands, [asked = '']: readonly string[]): Promise<readonly Add[]> {
  const one = commands.get(asked);
  return one === undefined ? Promise.all([...commands.values()].map((load) => load())) : [await one()];
}

/** Sub-commands don't inherit these. */
function settle(command: Command, streams: Streams): Command {
  command.exitOverride().configureOutput({ writeOut: streams.out, writeErr: () => undefined });
  if (command.commands.length === 0)
    command.option('--json', 'print JSON on standard output, and nothing else there');
  for (const child of command.commands) settle(child, streams);
  return command;
}

function sentence(message: string): string {
  const text = message.replace(/^error: /, '');
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}
