import type { Admission, AttesterSummary } from '@kallio/protocol';
import { attesterDecide, attesterHistory, attesterPush, attesterShow, attestersList } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { short, table } from '../output/table.ts';

/** `kallio attesters`: who attests, and how they stand. */
export function attestersCommand(context: Context): Command {
  const attesters = command(
    'attesters',
    'build hosts and devices, and how they stand',
    'kallio attesters list',
  );
  attesters
    .addCommand(
      serverOptions(command('list', 'every attester', 'kallio attesters list')).action(
        (flags: ServerOptions) => list(context, flags),
      ),
    )
    .addCommand(
      serverOptions(
        command('show', 'one attester, with the reasons of its state', 'kallio attesters show cabinet-7'),
      )
        .argument('<attester>')
        .action((attester: string, flags: ServerOptions) => show(context, attester, flags)),
    )
    .addCommand(
      serverOptions(
        command(
          'history',
          'what was decided about a name, and on which TPM',
          'kallio attesters history cabinet-7',
        ),
      )
        .argument('<attester>')
        .action((attester: string, flags: ServerOptions) => history(context, attester, flags)),
    )
    .addCommand(
      serverOptions(
        command('attest', 'ask an attester for evidence now', 'kallio attesters attest cabinet-7'),
      )
        .argument('<attester>')
        .action((attester: string, flags: ServerOptions) => push(context, attester, flags)),
    );
  for (const decision of ['admit', 'refuse'] as const) {
    attesters.addCommand(
      serverOptions(
        command(
          decision,
          `${decision} a claim that waits or is held`,
          `kallio attesters ${decision} cabinet-7 --ek 8f3c…`,
        ),
      )
        .argument('<attester>')
        .requiredOption('--ek <sha256>', 'the TPM that is meant, as shown by: kallio attesters show')
        .action((attester: string, flags: ServerOptions & { ek: string }) =>
          decide(context, attester, decision, flags),
        ),
    );
  }
  return attesters;
}

async function list({ output }: Context, flags: ServerOptions): Promise<void> {
  const { attesters } = await withServer(flags, (client) => client.call(attestersList, {}));
  const rows = attesters.map((a) => [
    a.attester,
    a.kind,
    a.admission,
    a.state,
    a.reachability ?? '-',
    a.tier ?? '-',
    a.lastEvidenceAt ?? 'never',
    a.reasons[0]?.code ?? '',
  ]);
  output.result(
    { attesters },
    table(
      ['attester', 'kind', 'admission', 'state', 'reach', 'tier', 'last evidence', 'reason'],
      rows,
      'No attester yet.',
    ),
  );
}

async function show({ output }: Context, attester: string, flags: ServerOptions): Promise<void> {
  const { shown, attesters } = await withServer(flags, async (client) => ({
    shown: await client.call(attesterShow, { params: { attester } }),
    attesters: (await client.call(attestersList, {})).attesters,
  }));
  // Who else asks for this name, and waits for the operator to decide.
  const waiting = attesters.filter(
    (one) => one.attester === attester && one.admission !== 'admitted' && one.ek !== shown.ek,
  );
  output.result({ ...shown, waiting }, [shown, ...waiting].map(describe).join('\n\n'));
}

async function history({ output }: Context, attester: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) => client.call(attesterHistory, { params: { attester } }));
  const row = ({ at, admission, by, ek, ak, reason }: Admission) => {
    return [at, admission, by, short(ek), short(ak), reason?.code ?? ''];
  };
  const head = ['at', 'admission', 'by', 'EK', 'AK', 'reason'];
  output.result(shown, table(head, shown.admissions.map(row), `Nobody asked to be ${attester}.`));
}

async function push({ output }: Context, attester: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) => client.call(attesterPush, { params: { attester } }));
  output.result(shown, shown.asked ? `${attester} was asked.` : `${attester} is not connected.`);
}

async function decide(
  { output }: Context,
  attester: string,
  decision: 'admit' | 'refuse',
  flags: ServerOptions & { ek: string },
): Promise<void> {
  const shown = await withServer(flags, (client) =>
    client.call(attesterDecide, { params: { attester }, body: { decision, ek: flags.ek } }),
  );
  output.result(shown, describe(shown));
}

function describe(a: AttesterSummary): string {
  const reasons = a.reasons.map(({ code, message }) => `\n  ${code}: ${message}`).join('');
  return `${a.attester} (${a.kind}): ${a.admission}, ${a.state}${a.tier === undefined ? '' : `, tier ${a.tier}`}${a.reachability === undefined ? '' : `, ${a.reachability}`}
  EK      ${a.ek}
  AK      ${a.ak}
  result  ${short(a.result)}${reasons}`;
}
