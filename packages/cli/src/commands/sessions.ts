import { sessionShow, sessionsList } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { short, table } from '../output/table.ts';

/** `kallio sessions`: attestation sessions of builds. */
export function sessionsCommand(context: Context): Command {
  const sessions = command('sessions', 'attestation sessions of builds', 'kallio sessions list');
  sessions
    .addCommand(
      serverOptions(command('list', 'sessions, newest first', 'kallio sessions list')).action(
        (flags: ServerOptions) => list(context, flags),
      ),
    )
    .addCommand(
      serverOptions(command('show', 'one session', 'kallio sessions show ID'))
        .argument('<session>')
        .action((session: string, flags: ServerOptions) => show(context, session, flags)),
    );
  return sessions;
}

async function list({ output }: Context, flags: ServerOptions): Promise<void> {
  const { sessions } = await withServer(flags, (client) => client.call(sessionsList, {}));
  const rows = sessions.map((s) => [
    s.session,
    s.attester,
    s.state,
    short(s.subject),
    s.createdAt,
    s.reason?.code ?? '',
  ]);
  output.result(
    { sessions },
    table(['session', 'builder', 'state', 'image', 'created', 'reason'], rows, 'No session yet.'),
  );
}

async function show({ output }: Context, session: string, flags: ServerOptions): Promise<void> {
  const record = await withServer(flags, (client) => client.call(sessionShow, { params: { session } }));
  const reason = record.reason === undefined ? '' : `\n  ${record.reason.code}: ${record.reason.message}`;
  output.result(
    record,
    `${record.session} of ${record.attester}: ${record.state}\n  image     ${record.subject ?? '-'}\n  evidence  ${record.evidence.length} messages\n  head      ${record.head}${reason}`,
  );
}
