import { NOTE_KEY, openWitnessMemory, parseVerifierKey, Witness } from '@kallio/tlog';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { cliError } from '../output/output.ts';

/** `kallio witness`: sign the heads of other people's logs. */
export function witnessCommand(context: Context): Command {
  const witness = command(
    'witness',
    'be a witness of transparency logs: sign a head only if it extends the last one (C2SP tlog-witness)',
    'kallio witness run --dir /var/lib/kallio-witness --listen 0.0.0.0:8460 --log KEY',
  );
  witness
    .addCommand(
      command(
        'init',
        'make a witness: its key, and the verifier key to hand out',
        'kallio witness init --dir /var/lib/kallio-witness --name witness.example.org/1',
      )
        .requiredOption('--dir <dir>', 'where its key and what it has seen are kept')
        .requiredOption('--name <name>', 'what it is called: an address without its scheme')
        .action((flags: { dir: string; name: string }) => init(context, flags)),
    )
    .addCommand(
      command(
        'run',
        'answer logs, until it is ended; put TLS before it',
        'kallio witness run --dir /var/lib/kallio-witness --listen 0.0.0.0:8460 --log KEY',
      )
        .requiredOption('--dir <dir>', 'where its key and what it has seen are kept')
        .requiredOption('--listen <address>', 'host:port')
        .requiredOption('--log <key...>', 'verifier keys of the logs that it signs for (GET /v1/trust)')
        .action((flags: { dir: string; listen: string; log: string[] }) => run(context, flags)),
    );
  return witness;
}

async function init({ output }: Context, flags: { readonly dir: string; readonly name: string }) {
  const { makeWitness } = await import('../witness/folder.ts');
  const { name, verifierKey } = await makeWitness(flags.dir, flags.name);
  output.result(
    { name, verifierKey },
    `${verifierKey}\n  Hand this to the log's operator ("log.witnesses") and to those who verify (kallio policy image --witness).`,
  );
}

async function run(
  { output }: Context,
  flags: { readonly dir: string; readonly listen: string; readonly log: readonly string[] },
): Promise<void> {
  const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(flags.listen) ?? [];
  if (host === '') throw cliError('USAGE', '--listen takes host:port.');
  const [{ readWitness }, { listen }] = await Promise.all([
    import('../witness/folder.ts'),
    import('../witness/listen.ts'),
  ]);
  const logs = flags.log.map((key) => parseVerifierKey(key, NOTE_KEY));
  const identity = readWitness(flags.dir);
  const memory = openWitnessMemory(flags.dir);
  const witness = new Witness({ ...identity, logs, memory, now: () => new Date() });
  const tell = (trouble: string) => output.progress(trouble);
  const listening = await listen(witness, host.replace(/^\[|\]$/g, ''), Number(port), tell);
  output.progress(`witness ${identity.name} answers on port ${listening.port}`);
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
  await listening.close();
  await memory.close();
}
