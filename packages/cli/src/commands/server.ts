import { join } from 'node:path';
import type { Client } from '@kallio/protocol/client';
import { parseImagePolicy } from '@kallio/signature';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { readJson, secretInto } from '../files.ts';

interface InitFlags {
  readonly data: string;
  readonly listen: string;
  readonly name: string[];
  readonly trustDomain: string;
  readonly ekRoot: string[];
  readonly builderPolicy?: string;
  readonly signingAuthority?: string;
  readonly devicePolicy?: string;
  readonly tokenFile?: string;
}

/** `kallio server`: attestation server, log and orchestrator in one process. */
export function serverCommand(context: Context): Command {
  const server = command(
    'server',
    'attestation server, transparency log and orchestrator',
    'kallio server start --data /var/lib/kallio',
  );
  server
    .addCommand(
      command(
        'init',
        'make a new server and its first admin token',
        'kallio server init --data /var/lib/kallio --name edge.example.org --ek-root maker.pem',
      )
        .requiredOption('--data <dir>', 'the server’s data folder')
        .requiredOption('--name <name...>', 'DNS names and IP addresses of the server')
        .option('--listen <address>', 'address and port', '0.0.0.0:8443')
        .option('--trust-domain <name>', 'SPIFFE trust domain of the attesters', 'kallio.local')
        .option(
          '--ek-root <file...>',
          'PEM with root certificates of TPM makers; none is trusted that is not named',
          [],
        )
        .option('--builder-policy <file>', 'appraisal policy for build hosts')
        .option(
          '--signing-authority <file>',
          'PEM of the operator’s key: build hosts sign only in states it approved',
        )
        .option('--device-policy <file>', 'appraisal policy for devices')
        .option('--token-file <file>', 'write the admin token there instead of printing it')
        .action((flags: InitFlags) => init(context, flags)),
    )
    .addCommand(
      command(
        'start',
        'run the server until it is told to stop',
        'kallio server start --data /var/lib/kallio --image-policy image-policy.json',
      )
        .requiredOption('--data <dir>', 'the server’s data folder')
        .option(
          '--image-policy <file>',
          'what the orchestrator demands of an image (read at every check); without it there is no orchestrator',
        )
        .action((flags: { data: string; imagePolicy?: string }) => start(context, flags)),
    )
    .addCommand(
      command(
        'rotate-key',
        'sign results with another key from now on; the earlier ones stay published',
        'kallio server rotate-key --data /var/lib/kallio',
      )
        .requiredOption('--data <dir>', 'the server’s data folder')
        .action((flags: { data: string }) => rotateKey(context, flags.data)),
    )
    .addCommand(
      command(
        'admin-token',
        'end the admin token and make another',
        'kallio server admin-token --data /var/lib/kallio',
      )
        .requiredOption('--data <dir>', 'the server’s data folder')
        .option('--token-file <file>', 'write it there instead of printing it')
        .action((flags: { data: string; tokenFile?: string }) => adminToken(context, flags)),
    );
  return server;
}

async function init({ output }: Context, flags: InitFlags): Promise<void> {
  const { initServer } = await import('@kallio/server');
  const [first = 'localhost'] = flags.name;
  const make = () =>
    initServer({
      dataDir: flags.data,
      listen: flags.listen,
      names: flags.name,
      trustDomain: flags.trustDomain,
      issuer: `https://${first}`,
      log: { name: first },
      ekRoots: flags.ekRoot,
      ...(flags.builderPolicy === undefined ? {} : { builderPolicy: flags.builderPolicy }),
      ...(flags.signingAuthority === undefined ? {} : { signingAuthority: flags.signingAuthority }),
      ...(flags.devicePolicy === undefined ? {} : { devicePolicy: flags.devicePolicy }),
    });
  const ca = join(flags.data, 'ca.pem');
  const shown = await giveToken(flags.tokenFile, async () => (await make()).adminToken);
  output.result(
    { data: flags.data, ca, ...shown },
    `The server is ready in ${flags.data}.\n\n  authority to pin   ${ca}\n  admin token        ${shown.tokenFile ?? shown.token}\n\nStart it with: kallio server start --data ${flags.data}`,
  );
}

async function start({ output }: Context, flags: { data: string; imagePolicy?: string }): Promise<void> {
  const [{ startServer }, { mountOrchestrator }, { Client }] = await Promise.all([
    import('@kallio/server'),
    import('@kallio/orchestrator'),
    import('@kallio/protocol/client'),
  ]);
  const undo: (() => Promise<void>)[] = [];
  const server = await startServer({
    dataDir: flags.data,
    register: async (app, role) => {
      if (flags.imagePolicy === undefined) return;
      const policyFile = flags.imagePolicy;
      let client: Client | undefined;
      // The orchestrator is a relying party like any other: it asks the verifier over HTTPS, with a token of its own.
      const verifier = () => {
        client ??= new Client({
          url: role.url(),
          ca: role.ca,
          token: role.serviceToken('orchestrator', 'operator'),
        });
        return client;
      };
      const orchestrator = await mountOrchestrator(app, {
        dataDir: role.dataDir,
        verifier,
        policy: () => parseImagePolicy(readJson(policyFile)),
        authenticate: role.authenticate,
        logger: role.logger,
      });
      role.addRole('orchestrator');
      undo.push(
        () => orchestrator.close(),
        async () => client?.close(),
      );
    },
  });
  output.result({ url: server.url }, `kallio server answers at ${server.url}`);
  await stopped();
  for (const step of undo) await step();
  await server.close();
}

async function rotateKey({ output }: Context, data: string): Promise<void> {
  const { rotateResultKeys } = await import('@kallio/server');
  const keyId = rotateResultKeys(data, new Date());
  output.result(
    { keyId },
    `${keyId} signs from now on; a server that runs takes it up within a minute.\nWho pinned the keys fetches them again: GET /v1/trust, or kallio policy image.`,
  );
}

async function adminToken({ output }: Context, flags: { data: string; tokenFile?: string }): Promise<void> {
  const { resetAdminToken } = await import('@kallio/server');
  const shown = await giveToken(flags.tokenFile, async () => resetAdminToken(flags.data));
  output.result(shown, `The admin token is ${shown.token ?? `in ${shown.tokenFile}`}.`);
}

/** A new token goes to a file that only its owner reads, or is shown once. */
async function giveToken(
  file: string | undefined,
  make: () => Promise<string>,
): Promise<{ token?: string; tokenFile?: string }> {
  if (file === undefined) return { token: await make() };
  await secretInto(file, make, (token) => token);
  return { tokenFile: file };
}

/** Waits for SIGTERM or SIGINT. */
function stopped(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
}
