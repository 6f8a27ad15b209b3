import { attestersList, resultShow } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { table } from '../output/table.ts';

interface Seen {
  readonly device: string;
  readonly instance: string;
  readonly state: string;
  readonly reasons: readonly { readonly code: string; readonly message: string }[];
}

/** `kallio instances`: everything that runs on devices, ordered or not, as their evidence shows it. */
export function instancesCommand(context: Context): Command {
  return serverOptions(
    command(
      'instances',
      'what runs on devices, as their evidence shows it',
      'kallio instances --device cabinet-7',
    ),
  )
    .option('--device <attester>', 'only this device')
    .action((flags: ServerOptions & { device?: string }) => list(context, flags));
}

async function list(context: Context, flags: ServerOptions & { device?: string }): Promise<void> {
  const instances = await withServer(flags, async (client) => {
    const { attesters } = await client.call(attestersList, {});
    const devices = attesters.filter(
      ({ kind, attester }) => kind === 'device' && attester === (flags.device ?? attester),
    );
    const seen: Seen[] = [];
    for (const { attester, state, result } of devices) {
      if (result === undefined) continue;
      const { record } = await client.call(resultShow, { params: { digest: result }, query: {} });
      // An old result says what was: no instance on a device that went quiet is VERIFIED.
      for (const one of instancesOf(record))
        seen.push({ device: attester, ...one, ...(state === 'STALE' ? { state } : {}) });
    }
    return seen;
  });
  context.exit = instances.every(({ state }) => state === 'VERIFIED') ? 0 : 1;
  const rows = instances.map((one) => [
    one.device,
    one.instance,
    one.state,
    one.reasons.map(({ code }) => code).join(' '),
  ]);
  context.output.result(
    { instances },
    table(['device', 'instance', 'state', 'reasons'], rows, 'Nothing runs on any device.'),
  );
}

function instancesOf(record: unknown): Omit<Seen, 'device'>[] {
  if (typeof record !== 'object' || record === null || !('instances' in record)) return [];
  const { instances } = record as { instances: Readonly<Record<string, Omit<Seen, 'device' | 'instance'>>> };
  return Object.entries(instances).map(([instance, { state, reasons }]) => ({ instance, state, reasons }));
}
