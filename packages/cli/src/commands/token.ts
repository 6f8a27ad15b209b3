import { writeFileSync } from 'node:fs';
import type { Role } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';

interface CreateFlags extends ServerOptions {
  readonly role: Role;
  readonly ttl: string;
  readonly out?: string;
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
      serverOptions(command('revoke', 'end a token', 'kallio token revoke ci'))
        .argument('<name>')
        .action((name: string, flags: ServerOptions) => revoke(context, name, flags)),
    );
  return token;
}

async function create({ output }: Context, name: string, flags: CreateFlags): Promise<void> {
  const { tokenCreate } = await import('@kallio/protocol');
  const { token, expiresAt } = await withServer(flags, (client) =>
    client.call(tokenCreate, { body: { name, role: flags.role, ttlSeconds: Number(flags.ttl) } }),
  );
  if (flags.out === undefined) return output.result({ token, expiresAt }, token);
  writeFileSync(flags.out, `${token}\n`, { mode: 0o600 });
  output.result({ tokenFile: flags.out, expiresAt }, `The token is in ${flags.out}, until ${expiresAt}.`);
}

async function revoke({ output }: Context, name: string, flags: ServerOptions): Promise<void> {
  const { tokenRevoke } = await import('@kallio/protocol');
  const shown = await withServer(flags, (client) => client.call(tokenRevoke, { params: { name } }));
  output.result(shown, shown.revoked ? `${name} is no token any more.` : `${name} was no token.`);
}
