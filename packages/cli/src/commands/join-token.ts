import type { AttesterKind } from '@kallio/protocol';
import { joinTokenCreate } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { secretInto } from '../files.ts';

interface Flags extends ServerOptions {
  readonly uses: string;
  readonly ttl: string;
  readonly kind?: AttesterKind;
  readonly attester?: string;
  readonly out?: string;
}

/** `kallio join-token`: lets machines enrol without an operator at hand. */
export function joinTokenCommand(context: Context): Command {
  return serverOptions(
    command(
      'join-token',
      'make a token that admits attesters',
      'kallio join-token --kind device --attester cabinet-7 --out join-token',
    ),
  )
    .option('--uses <n>', 'how often it may be used', '1')
    .option('--ttl <seconds>', 'how long it may be used', '3600')
    .option('--kind <kind>', 'admit only builders, or only devices')
    .option('--attester <id>', 'admit only this name')
    .option('--out <file>', 'write it there instead of printing it')
    .action((flags: Flags) => create(context, flags));
}

async function create({ output }: Context, flags: Flags): Promise<void> {
  const body = {
    uses: Number(flags.uses),
    ttlSeconds: Number(flags.ttl),
    ...(flags.kind === undefined ? {} : { kind: flags.kind }),
    ...(flags.attester === undefined ? {} : { attester: flags.attester }),
  };
  const make = () => withServer(flags, (client) => client.call(joinTokenCreate, { body }));
  if (flags.out === undefined) {
    const made = await make();
    return output.result(made, made.token);
  }
  const { expiresAt } = await secretInto(flags.out, make, ({ token }) => token);
  output.result(
    { tokenFile: flags.out, expiresAt },
    `The join token is in ${flags.out}, until ${expiresAt}.`,
  );
}
