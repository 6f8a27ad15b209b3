import { Command, CommanderError } from 'commander';
import { agentCommand } from './commands/agent.ts';
import { appsCommand } from './commands/apps.ts';
import { attestersCommand } from './commands/attesters.ts';
import { buildCommand } from './commands/build.ts';
import { bundleCommand } from './commands/bundle.ts';
import { copyCommand } from './commands/copy.ts';
import { doctorCommand } from './commands/doctor.ts';
import { enrolCommand } from './commands/enrol.ts';
import { eventlogCommand } from './commands/eventlog.ts';
import { eventsCommand } from './commands/events.ts';
import { evidenceCommand } from './commands/evidence.ts';
import { explainCommand } from './commands/explain.ts';
import { imalogCommand } from './commands/imalog.ts';
import { instancesCommand } from './commands/instances.ts';
import { joinTokenCommand } from './commands/join-token.ts';
import { logCommand } from './commands/log.ts';
import { packagesCommand } from './commands/packages.ts';
import { policyCommand } from './commands/policy.ts';
import { referenceCommand } from './commands/reference.ts';
import { serverCommand } from './commands/server.ts';
import { sessionsCommand } from './commands/sessions.ts';
import { tokenCommand } from './commands/token.ts';
import { verifyCommand } from './commands/verify.ts';
import { webhooksCommand } from './commands/webhooks.ts';
import { witnessCommand } from './commands/witness.ts';
import type { Context } from './context.ts';
import { EXIT } from './output/exit.ts';
import { cliError, Output, type Streams } from './output/output.ts';

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
  for (const add of [
    serverCommand,
    agentCommand,
    enrolCommand,
    buildCommand,
    verifyCommand,
    bundleCommand,
    copyCommand,
    logCommand,
    witnessCommand,
    attestersCommand,
    sessionsCommand,
    eventsCommand,
    explainCommand,
    webhooksCommand,
    packagesCommand,
    appsCommand,
    instancesCommand,
    evidenceCommand,
    eventlogCommand,
    imalogCommand,
    policyCommand,
    referenceCommand,
    joinTokenCommand,
    tokenCommand,
    doctorCommand,
  ]) {
    program.addCommand(settle(add(context), streams));
  }
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
