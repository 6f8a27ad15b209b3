import type { AppPkgInfo, Client } from '@kallio/protocol';
import {
  fillPath,
  PACKAGE_CONTENT,
  packageCreate,
  packageDelete,
  packageShow,
  packagesList,
} from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { readJson } from '../files.ts';
import { cliError } from '../output/output.ts';
import { table } from '../output/table.ts';
import { untilEnded, type WaitFlags, waitOption } from '../waiting.ts';

/** `kallio packages`: application packages. */
export function packagesCommand(context: Context): Command {
  const packages = command(
    'packages',
    'application packages (ETSI MEC 010-2)',
    'kallio packages create appd.json',
  );
  packages
    .addCommand(
      waitOption(
        serverOptions(
          command(
            'create',
            'onboard a package from its descriptor, and wait for the image check',
            'kallio packages create appd.json',
          ),
        ),
      )
        .argument('<appd>', 'the application descriptor (AppD), JSON')
        .action((appd: string, flags: ServerOptions & WaitFlags) => create(context, appd, flags)),
    )
    .addCommand(
      serverOptions(command('list', 'every package', 'kallio packages list')).action((flags: ServerOptions) =>
        list(context, flags),
      ),
    )
    .addCommand(
      serverOptions(command('show', 'one package', 'kallio packages show ID'))
        .argument('<package>')
        .action((id: string, flags: ServerOptions) => show(context, id, flags)),
    )
    .addCommand(
      serverOptions(command('delete', 'delete a package that is not in use', 'kallio packages delete ID'))
        .argument('<package>')
        .action((id: string, flags: ServerOptions) => remove(context, id, flags)),
    );
  return packages;
}

async function create(context: Context, file: string, flags: ServerOptions & WaitFlags): Promise<void> {
  const { zipSync } = await import('fflate');
  const appd = readJson(file);
  const named = descriptorNames(appd);
  const shown = await withServer(flags, async (client) => {
    const { id } = await client.call(packageCreate, {
      body: { appPkgName: named.name, appPkgVersion: named.version, appProvider: named.provider },
    });
    const zip = zipSync({ 'appd.json': new TextEncoder().encode(JSON.stringify(appd)) });
    await client.raw('PUT', fillPath(PACKAGE_CONTENT, { appPkgId: id }), zip, 'application/zip');
    context.output.progress(`package ${id} is uploaded; its image is being checked`);
    return checked(context, flags, client, id);
  });
  context.exit = shown.operationalState === 'ENABLED' ? 0 : 1;
  context.output.result(shown, describe(shown));
}

/** Waits until the image check has come to an end. */
async function checked(
  context: Context,
  flags: WaitFlags,
  client: Client,
  appPkgId: string,
): Promise<AppPkgInfo> {
  return untilEnded(context, flags, {
    name: `The check of the package ${appPkgId}`,
    ask: () => client.call(packageShow, { params: { appPkgId } }),
    ended: ({ operationalState, kallio }) => operationalState === 'ENABLED' || kallio?.refusal !== undefined,
    state: ({ onboardingState }) => onboardingState,
    hint: `kallio packages show ${appPkgId}`,
  });
}

async function list({ output }: Context, flags: ServerOptions): Promise<void> {
  const packages = await withServer(flags, (client) => client.call(packagesList, {}));
  const rows = packages.map((p) => [
    p.id,
    p.appName,
    p.appSoftwareVersion,
    p.onboardingState,
    p.operationalState,
    p.kallio?.refusal?.code ?? p.kallio?.builder ?? '',
  ]);
  output.result(
    { packages },
    table(
      ['package', 'application', 'version', 'onboarding', 'state', 'builder or refusal'],
      rows,
      'No package yet.',
    ),
  );
}

async function show({ output }: Context, id: string, flags: ServerOptions): Promise<void> {
  const shown = await withServer(flags, (client) => client.call(packageShow, { params: { appPkgId: id } }));
  output.result(shown, describe(shown));
}

async function remove({ output }: Context, id: string, flags: ServerOptions): Promise<void> {
  await withServer(flags, (client) => client.call(packageDelete, { params: { appPkgId: id } }));
  output.result({ deleted: id }, `The package ${id} is deleted.`);
}

function describe(p: AppPkgInfo): string {
  const why = p.kallio?.refusal;
  const image = p.kallio === undefined ? '' : `\n  image   ${p.kallio.image}`;
  const verdict =
    why === undefined ? `\n  builder ${p.kallio?.builder ?? '-'}` : `\n  ${why.code}: ${why.message}`;
  return `${p.id} ${p.appName} ${p.appSoftwareVersion}: ${p.onboardingState}, ${p.operationalState}${image}${verdict}`;
}

function descriptorNames(appd: unknown): { name: string; version: string; provider: string } {
  const field = (name: string) => {
    const value =
      typeof appd === 'object' && appd !== null
        ? Object.entries(appd).find(([key]) => key === name)?.[1]
        : undefined;
    if (typeof value === 'string' && value !== '') return value;
    throw cliError('USAGE', `The application descriptor has no ${name}.`);
  };
  return { name: field('appName'), version: field('appSoftVersion'), provider: field('appProvider') };
}
