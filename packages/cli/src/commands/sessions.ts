import { type SessionEvent, sessionsList } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { short, table } from '../output/table.ts';
import { type ShownSession, shownSession } from '../sessions/record.ts';

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
      serverOptions(
        command(
          'show',
          'one session and what happened in it, held against each other',
          'kallio sessions show ID',
        ),
      )
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
    s.logIndex === undefined ? '-' : String(s.logIndex),
    s.createdAt,
    s.reason?.code ?? (s.state === 'closed' && s.logIndex === undefined ? 'no signature was logged' : ''),
  ]);
  output.result(
    { sessions },
    table(
      ['session', 'builder', 'state', 'image', 'log entry', 'created', 'reason'],
      rows,
      'No session yet.',
    ),
  );
}

async function show({ output }: Context, session: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) => shownSession(client, session));
  output.result({ ...shown.record, events: shown.events }, describe(shown));
}

function describe({ record, events, result }: ShownSession): string {
  const { policy, subject, evidence, head, logIndex, reason } = record;
  const entry = record.state !== 'closed' ? '-' : (logIndex ?? 'none: no signature of it was logged here');
  return [
    `${record.session} of ${record.attester}: ${record.state}`,
    `  policy    ${policy === undefined ? '-' : `${policy.id} (${policy.digest})`}`,
    `  image     ${subject ?? '-'}`,
    `  log entry ${entry}`,
    `  evidence  ${evidence.length} messages`,
    `  head      ${head}`,
    `            ${events.length} events lead to it${NAMED[result]}`,
    ...(reason === undefined ? [] : [`  ${reason.code}: ${reason.message}`]),
    ...events.map((event) =>
      `  ${new Date(event.at).toISOString()}  ${event.event.padEnd(8)}  ${what(event)}`.trimEnd(),
    ),
  ].join('\n');
}

const NAMED: Readonly<Record<ShownSession['result'], string>> = {
  'names-them': ', and the signed result names it',
  older: '; the signed result names no head: it is of an older server',
  'key-unknown': '; the signed result is of a key that is published no more',
  none: '',
};

function what(event: SessionEvent): string {
  switch (event.event) {
    case 'created':
      return event.policy === undefined ? '' : `under ${event.policy.id}`;
    case 'opened':
    case 'attested':
      return `evidence ${short(event.evidence)}`;
    case 'closed':
      return `evidence ${short(event.evidence)} on ${short(event.subject)}`;
    case 'failed':
    case 'expired':
      return event.reason.code;
  }
}
