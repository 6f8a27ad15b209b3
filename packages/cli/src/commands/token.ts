import type { Role } from '@kallio/protocol';
import { tokenCreate, tokenRevoke, tokenRotate } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { secretInto } from '../files.ts';

interface RotateFlags extends ServerOptions {
  readonly ttl: string;
  readonly out?: string;
}
interface CreateFlags extends RotateFlags {
  readonly role: Role;
}

/** `kallio token`: bearer tokens of people and programs. */
export function tokenCommand(context: Context): Command {
  const token = command(
    'token',
    'bearer tokens of people and programs',
    'kallio token create ci --role operator --out ci.token',
  );
  token
    .addCommand(
      serverOptions(
        command('create', 'make a token', 'kallio token create ci --role operator --out ci.token'),
      )
        .argument('<name>')
        .requiredOption('--role <role>', 'viewer, operator or admin')
        .option('--ttl <seconds>', 'how long it may be used', String(90 * 86_400))
        .option('--out <file>', 'write it there instead of printing it')
        .action((name: string, flags: CreateFlags) => create(context, name, flags)),
    )
    .addCommand(
      serverOptions(
        command(
          'rotate',
          'end a token and make another of its name and role',
          'kallio token rotate ci --out ci.token',
        ),
      )
        .argument('<name>')
        .option('--ttl <seconds>', 'how long the new one may be used', String(90 * 86_400))
        .option('--out <file>', 'write it there instead of printing it')
        .action((name: string, flags: RotateFlags) => rotate(context, name, flags)),
    )
    .addCommand(
      serverOptions(command('revoke', 'end a token', 'kallio token revoke ci'))
        .argument('<name>')
        .action((name: string, flags: ServerOptions) => revoke(context, name, flags)),
    );
  return token;
}

async function create(context: Context, name: string, flags: CreateFlags): Promise<void> {
  const body = { name, role: flags.role, ttlSeconds: Number(flags.ttl) };
  await give(context, flags.out, () => withServer(flags, (client) => client.call(tokenCreate, { body })));
}

async function rotate(context: Context, name: string, flags: RotateFlags): Promise<void> {
  const call = { params: { name }, body: { ttlSeconds: Number(flags.ttl) } };
  await give(context, flags.out, () => withServer(flags, (client) => client.call(tokenRotate, call)));
}

/** A new token goes into a file, or is shown once. */
async function give(
  { output }: Context,
  out: string | undefined,
  make: () => Promise<{ readonly token: string; readonly expiresAt: string }>,
): Promise<void> {
  if (out === undefined) {
    const { token, expiresAt } = await make();
    return output.result({ token, expiresAt }, token);
  }
  const { expiresAt } = await secretInto(out, make, ({ token }) => token);
  output.result({ tokenFile: out, expiresAt }, `The token is in ${out}, until ${expiresAt}.`);
}

async function revoke({ output }: Context, name: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) => client.call(tokenRevoke, { params: { name } }));
  output.result(shown, shown.revoked ? `${name} is no token any more.` : `${name} was no token.`);
}
