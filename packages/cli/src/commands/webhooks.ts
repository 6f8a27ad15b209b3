import { decodeShape } from '@kallio/codec';
import type { WebhookView } from '@kallio/protocol';
import { EventType, webhookCreate, webhookRemove, webhooksList } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { readFile, readSecret } from '../files.ts';
import { table } from '../output/table.ts';

interface AddFlags extends ServerOptions {
  readonly events: string[];
  readonly secretFile: string;
  readonly receiverCa?: string;
}

/** `kallio webhooks`: who is told of changes of state. */
export function webhooksCommand(context: Context): Command {
  const webhooks = command(
    'webhooks',
    'addresses that are told of changes of state',
    'kallio webhooks add https://ops.example.org/kallio --events attester.state --secret-file secret',
  );
  webhooks
    .addCommand(
      serverOptions(
        command(
          'add',
          'have an address told, signed as Standard Webhooks says',
          'kallio webhooks add https://ops.example.org/kallio --events attester.state --secret-file secret',
        ),
      )
        .argument('<url>', 'https; http only to the server’s own machine')
        .option(
          '--events <type...>',
          'attester.state, instance.state, session.closed, …; all of them if left out',
          [],
        )
        .requiredOption('--secret-file <file>', 'file with the key of the signatures: whsec_ and base64')
        .option('--receiver-ca <file>', 'PEM of the only authority believed for the receiver')
        .action((url: string, flags: AddFlags) => add(context, url, flags)),
    )
    .addCommand(
      serverOptions(
        command('list', 'who is told, and what is still to be told', 'kallio webhooks list'),
      ).action((flags: ServerOptions) => list(context, flags)),
    )
    .addCommand(
      serverOptions(command('remove', 'tell an address nothing more', 'kallio webhooks remove ID'))
        .argument('<webhook>')
        .action((webhook: string, flags: ServerOptions) => remove(context, webhook, flags)),
    );
  return webhooks;
}

async function add({ output }: Context, url: string, flags: AddFlags): Promise<void> {
  const events = flags.events.map((type) => decodeShape(EventType, type, 'USAGE', `The type ${type}`));
  const secret = readSecret(flags.secretFile);
  const ca =
    flags.receiverCa === undefined ? {} : { ca: new TextDecoder().decode(readFile(flags.receiverCa)) };
  const made = await withServer(flags, (client) =>
    client.call(webhookCreate, { body: { url, events, secret, ...ca } }),
  );
  output.result(made, `${made.webhook} is told of ${typesOf(made)} from now on.`);
}

async function list({ output }: Context, flags: ServerOptions): Promise<void> {
  const { webhooks } = await withServer(flags, (client) => client.call(webhooksList, {}));
  const rows = webhooks.map((one) => [
    one.webhook,
    one.url,
    typesOf(one),
    one.ended ? 'ended' : String(one.waiting),
    String(one.dead),
    one.trouble ?? '',
  ]);
  output.result(
    { webhooks },
    table(['webhook', 'address', 'events', 'waiting', 'given up', 'trouble'], rows, 'Nobody is told.'),
  );
}

async function remove(context: Context, webhook: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) => client.call(webhookRemove, { params: { webhook } }));
  context.exit = shown.removed ? 0 : 1;
  context.output.result(
    shown,
    shown.removed ? `${webhook} is told nothing more.` : `There is no ${webhook}.`,
  );
}

function typesOf({ events }: WebhookView): string {
  return events.length === 0 ? 'every change' : events.join(', ');
}
