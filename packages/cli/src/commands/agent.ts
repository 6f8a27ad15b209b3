import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { agentAttest, agentRotateSigningKey, agentSigningState, agentStatus } from '@kallio/protocol';
import type { Command } from 'commander';
import { withAgent } from '../connect.ts';
import { type Context, command } from '../context.ts';

interface ShimFlags {
  readonly stateDir: string;
  readonly socket?: string;
  readonly runtime: string;
}

/** `kallio agent`: the trust agent of a build host or device. */
export function agentCommand(context: Context): Command {
  const agent = command(
    'agent',
    'the trust agent of a build host or device',
    'kallio agent run --config /etc/kallio/agent.json',
  );
  agent
    .addCommand(
      command(
        'run',
        'run until told to stop; enrols the first time',
        'kallio agent run --config /etc/kallio/agent.json',
      )
        .requiredOption('--config <file>', 'the agent’s configuration')
        .action((flags: { config: string }) => run(context, flags.config)),
    )
    .addCommand(
      command(
        'status',
        'how an agent stands',
        'kallio agent status --socket /var/lib/kallio-agent/agent.sock',
      )
        .requiredOption('--socket <path>', 'the agent’s UNIX socket')
        .action((flags: { socket: string }) => status(context, flags.socket)),
    )
    .addCommand(
      command(
        'attest',
        'show evidence to the server now',
        'kallio agent attest --socket /var/lib/kallio-agent/agent.sock',
      )
        .requiredOption('--socket <path>', 'the agent’s UNIX socket')
        .action((flags: { socket: string }) => attest(context, flags.socket)),
    )
    .addCommand(
      command(
        'install-shim',
        'put the runtime shim in place, as the agent does at start: in a machine image, so that a scan of it finds the shim',
        'kallio agent install-shim --state-dir /var/lib/kallio-agent',
      )
        .requiredOption('--state-dir <dir>', 'the agent’s state folder')
        .option('--socket <path>', 'the agent’s UNIX socket (default: agent.sock in the state folder)')
        .option('--runtime <path>', 'the OCI runtime behind the shim', '/usr/bin/runc')
        .action((flags: ShimFlags) => shim(context, flags)),
    )
    .addCommand(
      command(
        'signing-state',
        'the PCR values in which a build host’s signing key would be used, for its operator to approve',
        'kallio agent signing-state --socket /var/lib/kallio-agent/agent.sock > state.json',
      )
        .requiredOption('--socket <path>', 'the agent’s UNIX socket')
        .action((flags: { socket: string }) => signingState(context, flags.socket)),
    )
    .addCommand(
      command(
        'rotate-signing-key',
        'make a new signing key; what the old one signed verifies as before',
        'kallio agent rotate-signing-key --socket /var/lib/kallio-agent/agent.sock',
      )
        .requiredOption('--socket <path>', 'the agent’s UNIX socket')
        .action((flags: { socket: string }) => rotateSigningKey(context, flags.socket)),
    );
  return agent;
}

async function run({ output }: Context, path: string): Promise<void> {
  // The heap for what lives shortly stays as small as it begins: an agent does little, and shares a small machine.
  setFlagsFromString('--semi-space-growth-factor=1');
  const [{ readConfig, runAgent }, { pino }] = await Promise.all([import('@kallio/agent'), import('pino')]);
  const config = readConfig(path);
  const logger = pino({ base: { attester: config.attester } }, pino.destination(2));
  const agent = await runAgent(config, logger);
  output.progress(`kallio agent ${agent.attester} runs`);
  const stop = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
  try {
    // An agent that can't go on (refused by the operator, say) ends the command with the reason.
    await Promise.race([stop, agent.ended]);
  } finally {
    await agent.close();
  }
}

async function status({ output }: Context, socket: string): Promise<void> {
  const shown = await withAgent(socket, (client) => client.call(agentStatus, {}));
  const tier = shown.tier === undefined ? '' : `, tier ${shown.tier}`;
  output.result(
    shown,
    `${shown.attester} (${shown.kind}) at ${shown.server}: ${shown.admitted ? shown.state : 'not admitted yet'}${tier}; ${shown.instances.length} instances`,
  );
}

async function attest(context: Context, socket: string): Promise<void> {
  const shown = await withAgent(socket, (client) => client.call(agentAttest, {}));
  context.exit = shown.state === 'VERIFIED' ? 0 : 1;
  context.output.result(shown, `${shown.state} (result ${shown.result})`);
}

async function shim({ output }: Context, { stateDir, socket, runtime }: ShimFlags): Promise<void> {
  const { installShim } = await import('@kallio/agent');
  const wrapper = await installShim(stateDir, socket ?? join(stateDir, 'agent.sock'), runtime);
  output.result({ runtime: wrapper }, `The engine’s OCI runtime on this machine is ${wrapper}.`);
}

async function signingState({ output }: Context, socket: string): Promise<void> {
  const state = await withAgent(socket, (client) => client.call(agentSigningState, {}));
  output.result(state, JSON.stringify(state, null, 2));
}

async function rotateSigningKey({ output }: Context, socket: string): Promise<void> {
  const shown = await withAgent(socket, (client) => client.call(agentRotateSigningKey, {}));
  output.result(shown, `The signing key is ${shown.signingKey} from now on.`);
}
