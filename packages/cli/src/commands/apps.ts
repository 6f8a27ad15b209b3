import type { AppInstanceInfo, AppLcmOpOcc, Client } from '@kallio/protocol';
import {
  instanceCreate,
  instanceDelete,
  instanceInstantiate,
  instanceShow,
  instancesList,
  instanceTerminate,
  opOccShow,
} from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { short, table } from '../output/table.ts';
import { untilEnded, type WaitFlags, waitOption } from '../waiting.ts';

interface StartFlags extends ServerOptions, WaitFlags {
  readonly name?: string;
  readonly device?: string;
}

/** `kallio apps`: the life cycle of application instances. */
export function appsCommand(context: Context): Command {
  const apps = command(
    'apps',
    'start and stop application instances (ETSI MEC 010-2)',
    'kallio apps start sensor-gateway',
  );
  apps
    .addCommand(
      waitOption(
        serverOptions(
          command(
            'start',
            'create an instance and start it on a verified device',
            'kallio apps start sensor-gateway --device cabinet-7',
          ),
        ),
      )
        .argument('<appDId>', 'the application, by its descriptor’s appDId')
        .option('--name <name>', 'a name for people')
        .option('--device <attester>', 'this device and no other')
        .action((appDId: string, flags: StartFlags) => start(context, appDId, flags)),
    )
    .addCommand(
      waitOption(serverOptions(command('stop', 'stop an instance and remove it', 'kallio apps stop ID')))
        .argument('<instance>')
        .action((id: string, flags: ServerOptions & WaitFlags) => stop(context, id, flags)),
    )
    .addCommand(
      serverOptions(command('list', 'every instance', 'kallio apps list')).action((flags: ServerOptions) =>
        list(context, flags),
      ),
    )
    .addCommand(
      serverOptions(command('show', 'one instance', 'kallio apps show ID'))
        .argument('<instance>')
        .action((id: string, flags: ServerOptions) => show(context, id, flags)),
    );
  return apps;
}

async function start(context: Context, appDId: string, flags: StartFlags): Promise<void> {
  const { operation, instance } = await withServer(flags, async (client) => {
    const { id } = await client.call(instanceCreate, {
      body: { appDId, ...(flags.name === undefined ? {} : { appInstanceName: flags.name }) },
    });
    const params = { appInstanceId: id };
    const body = flags.device === undefined ? {} : { selectedMECHostInfo: [{ hostName: flags.device }] };
    const { appLcmOpOccId } = await client.call(instanceInstantiate, { params, body });
    context.output.progress(`instance ${id} is being placed`);
    const done = await finished(context, flags, client, appLcmOpOccId);
    return { operation: done, instance: await client.call(instanceShow, { params }) };
  });
  context.exit = operation.operationState === 'COMPLETED' ? 0 : 1;
  context.output.result({ operation, instance }, describe(instance, operation));
}

async function stop(context: Context, id: string, flags: ServerOptions & WaitFlags): Promise<void> {
  const params = { appInstanceId: id };
  const operation = await withServer(flags, async (client) => {
    const { appLcmOpOccId } = await client.call(instanceTerminate, { params, body: {} });
    const done = await finished(context, flags, client, appLcmOpOccId);
    if (done.operationState === 'COMPLETED') await client.call(instanceDelete, { params });
    return done;
  });
  context.exit = operation.operationState === 'COMPLETED' ? 0 : 1;
  const why = operation.error === undefined ? '' : `\n  ${operation.error.code}: ${operation.error.message}`;
  context.output.result({ operation }, `${id}: ${operation.operationState}${why}`);
}

/** Waits until an operation has come to an end. */
async function finished(
  context: Context,
  flags: WaitFlags,
  client: Client,
  appLcmOpOccId: string,
): Promise<AppLcmOpOcc> {
  return untilEnded(context, flags, {
    name: `The operation ${appLcmOpOccId}`,
    ask: () => client.call(opOccShow, { params: { appLcmOpOccId } }),
    ended: ({ operationState }) => operationState === 'COMPLETED' || operationState === 'FAILED',
    state: ({ operationState }) => operationState,
    hint: 'kallio apps list',
  });
}

async function list({ output }: Context, flags: ServerOptions): Promise<void> {
  const apps = await withServer(flags, (client) => client.call(instancesList, {}));
  output.result({ apps }, appTable(apps));
}

/** Application instances, for a person. */
function appTable(apps: readonly AppInstanceInfo[]): string {
  const rows = apps.map((a) => [
    a.id,
    a.appDId,
    a.instantiationState,
    a.kallio?.device ?? '-',
    short(a.kallio?.digest),
    a.kallio?.state ?? '-',
    a.kallio?.address ?? a.kallio?.refusal?.code ?? '',
  ]);
  return table(
    ['instance', 'application', 'instantiation', 'device', 'image', 'state', 'address or refusal'],
    rows,
    'No instance yet.',
  );
}

async function show({ output }: Context, id: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) =>
    client.call(instanceShow, { params: { appInstanceId: id } }),
  );
  output.result(shown, describe(shown));
}

function describe(instance: AppInstanceInfo, operation?: AppLcmOpOcc): string {
  const { kallio } = instance;
  const why = operation?.error ?? kallio?.refusal;
  const lines = [
    `${instance.id} ${instance.appDId}: ${operation?.operationState ?? instance.instantiationState}, ${kallio?.state ?? 'UNKNOWN'}`,
    `  device  ${kallio?.device ?? '-'}`,
    `  image   ${kallio?.digest ?? '-'}`,
    ...(kallio?.address === undefined ? [] : [`  answers ${kallio.address}`]),
    ...(why === undefined ? [] : [`  ${why.code}: ${why.message}`]),
  ];
  return lines.join('\n');
}
