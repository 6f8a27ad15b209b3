import { dirname } from 'node:path';
import { namedSets, parsePolicy } from '@kallio/appraisal';
import { parseDigest } from '@kallio/codec';
import * as protocol from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { readFile, readJson } from '../files.ts';
import { cliError } from '../output/output.ts';
import { short } from '../output/table.ts';

type Kind = 'builder' | 'device';

/** `kallio policy set` and `show`: the appraisal policies of a server. */
export function inForceCommands(context: Context): Command[] {
  return [
    serverOptions(
      command(
        'set',
        'put an appraisal policy in force, with the reference sets in the folder "sets" beside it',
        'kallio policy set --kind device device.json',
      ),
    )
      .requiredOption('--kind <kind>', 'builder or device')
      .argument('<file>', 'the policy')
      .action((file: string, flags: ServerOptions & { kind: string }) => set(context, file, flags)),
    serverOptions(command('show', 'print the appraisal policy in force', 'kallio policy show --kind device'))
      .requiredOption('--kind <kind>', 'builder or device')
      .action((flags: ServerOptions & { kind: string }) => show(context, flags)),
  ];
}

async function set(context: Context, file: string, flags: ServerOptions & { kind: string }): Promise<void> {
  const { setFile } = await import('@kallio/server/policy-file');
  const kind = kindOf(flags.kind);
  const policy = parsePolicy(readJson(file));
  const installed = await withServer(flags, async (client) => {
    for (const { name, digest } of namedSets(policy)) {
      const params = { digest };
      const { known } = await client.call(protocol.referenceSetShow, { params });
      if (known) continue;
      context.output.progress(`uploading the reference set ${name}`);
      const content = readFile(setFile(dirname(file), parseDigest(digest)));
      const path = protocol.fillPath(protocol.REFERENCE_SET_CONTENT, params);
      await client.raw('PUT', path, content, protocol.REFERENCE_SET_TYPE);
    }
    return client.call(protocol.policyPut, { params: { kind }, body: policy });
  });
  context.output.result(
    installed,
    `Policy ${installed.id} (${short(installed.digest)}) is in force for every ${kind}; log entry ${installed.logIndex}.`,
  );
}

async function show({ output }: Context, flags: ServerOptions & { kind: string }): Promise<void> {
  const kind = kindOf(flags.kind);
  const { policy } = await withServer(flags, (client) =>
    client.call(protocol.policyShow, { params: { kind } }),
  );
  output.result(policy, JSON.stringify(policy, null, 2));
}

function kindOf(kind: string): Kind {
  if (kind === 'builder' || kind === 'device') return kind;
  throw cliError('USAGE', 'A policy is for a builder or a device.', 'Give --kind builder or --kind device.');
}
