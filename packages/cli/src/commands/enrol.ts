import type { Command } from 'commander';
import { type Context, command } from '../context.ts';

/** `kallio enrol`: claim an attester's name for this TPM, without running the agent. */
export function enrolCommand(context: Context): Command {
  return command(
    'enrol',
    'claim this machine’s name for its TPM',
    'kallio enrol --config /etc/kallio/agent.json --wait',
  )
    .requiredOption('--config <file>', 'the agent’s configuration')
    .option('--wait', 'wait until the operator has decided')
    .action((flags: { config: string; wait?: boolean }) => run(context, flags));
}

async function run(context: Context, flags: { config: string; wait?: boolean }): Promise<void> {
  const { enrol, identityOf, readConfig } = await import('@kallio/agent');
  const config = readConfig(flags.config);
  const identity = await identityOf(config);
  try {
    const { status, ek } = await enrol(config, identity, {
      wait: flags.wait === true,
      pending: ({ attester, state }, ek) =>
        context.output.progress(
          `${state}; the operator decides with: kallio attesters admit ${attester} --ek ${ek}`,
        ),
    });
    context.exit = status.state === 'admitted' ? 0 : 1;
    const why = status.reason === undefined ? '' : `\n${status.reason.code}: ${status.reason.message}`;
    context.output.result({ ...status, ek }, `${status.attester}: ${status.state}\n  EK  ${ek}${why}`);
  } finally {
    await identity.close();
  }
}
