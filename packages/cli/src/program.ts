import { Command, CommanderError } from 'commander';
import type { Context } from './context.ts';
import { EXIT } from './output/exit.ts';
import { cliError, Output, type Streams } from './output/output.ts';

/** Makes one command. */
type Add = (context: Context) => Command;

/** The commands in the order of the help. Each is loaded when it is asked for: most of a start is to load code. */
const COMMANDS: ReadonlyMap<string, () => Promise<Add>> = new Map([
  ['server', async () => (await import('./commands/server.ts')).serverCommand],
  ['agent', async () => (await import('./commands/agent.ts')).agentCommand],
  ['enrol', async () => (await import('./commands/enrol.ts')).enrolCommand],
  ['build', async () => (await import('./commands/build.ts')).buildCommand],
  ['verify', async () => (await import('./commands/verify.ts')).verifyCommand],
  ['bundle', async () => (await import('./commands/bundle.ts')).bundleCommand],
  ['copy', async () => (await import('./commands/copy.ts')).copyCommand],
  ['log', async () => (await import('./commands/log.ts')).logCommand],
  ['witness', async () => (await import('./commands/witness.ts')).witnessCommand],
  ['attesters', async () => (await import('./commands/attesters.ts')).attestersCommand],
  ['sessions', async () => (await import('./commands/sessions.ts')).sessionsCommand],
  ['events', async () => (await import('./commands/events.ts')).eventsCommand],
  ['explain', async () => (await import('./commands/explain.ts')).explainCommand],
  ['webhooks', async () => (await import('./commands/webhooks.ts')).webhooksCommand],
  ['packages', async () => (await import('./commands/packages.ts')).packagesCommand],
  ['apps', async () => (await import('./commands/apps.ts')).appsCommand],
  ['instances', async () => (await import('./commands/instances.ts')).instancesCommand],
  ['evidence', async () => (await import('./commands/evidence.ts')).evidenceCommand],
  ['eventlog', async () => (await import('./commands/eventlog.ts')).eventlogCommand],
  ['imalog', async () => (await import('./commands/imalog.ts')).imalogCommand],
  ['policy', async () => (await import('./commands/policy.ts')).policyCommand],
  ['reference', async () => (await import('./commands/reference.ts')).referenceCommand],
  ['join-token', async () => (await import('./commands/join-token.ts')).joinTokenCommand],
  ['token', async () => (await import('./commands/token.ts')).tokenCommand],
  ['doctor', async () => (await import('./commands/doctor.ts')).doctorCommand],
]);

/** Runs one command line and gives its exit code. Never throws, never ends the process. */
export async function runProgram(args: readonly string[], streams: Streams): Promise<number> {
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
  for (const add of await commandsFor(args)) program.addCommand(settle(add(context), streams));
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
async function commandsFor([asked = '']: readonly string[]): Promise<readonly Add[]> {
  const one = COMMANDS.get(asked);
  return one === undefined ? Promise.all([...COMMANDS.values()].map((load) => load())) : [await one()];
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
