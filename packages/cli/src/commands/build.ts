import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { cliError } from '../output/output.ts';

interface Flags {
  readonly tag: string;
  readonly agent: string;
  readonly builder?: string;
  readonly platform?: string;
  readonly attestEvery?: string;
  readonly reproducible?: boolean;
}

/** `kallio build`: an ordinary build, inside an attestation session. */
export function buildCommand(context: Context): Command {
  return command(
    'build',
    'build an image in an attestation session, sign it, log it, push it',
    'kallio build -t registry.example.org/app:1 . --agent /var/lib/kallio-agent/agent.sock -- --build-arg V=1',
  )
    .requiredOption('-t, --tag <image>', 'registry/repository:tag to push to')
    .option(
      '--agent <socket>',
      'the trust agent’s UNIX socket',
      process.env.KALLIO_AGENT ?? '/var/lib/kallio-agent/agent.sock',
    )
    .option(
      '--builder <command>',
      'a shell command that leaves an OCI layout in the folder $OUT, instead of buildah',
    )
    .option('--platform <list>', 'os/architecture,…: build an index over an image for each of them')
    .option(
      '--attest-every <seconds>',
      'also show evidence so often while the builder runs; it joins the session',
    )
    .option('--reproducible', 'the builder sets the image’s time to one of the past, by design')
    .argument('<context>', 'the build context')
    .argument('[flags...]', 'further flags for the builder, after --')
    .action((folder: string, flags: string[], options: Flags) => build(context, folder, flags, options));
}

async function build(
  { output }: Context,
  folder: string,
  flags: readonly string[],
  options: Flags,
): Promise<void> {
  const { buildImage } = await import('../build/build.ts');
  const record = await buildImage({
    context: folder,
    tag: options.tag,
    agent: options.agent,
    flags,
    reproducible: options.reproducible === true,
    platforms: options.platform?.split(',') ?? [],
    ...(options.builder === undefined ? {} : { builder: options.builder }),
    ...(options.attestEvery === undefined ? {} : { attestEvery: secondsOf(options.attestEvery) }),
    say: (line) => output.progress(line),
  });
  const steps = record.steps
    .map(({ name, ms }) => `  ${(ms / 1000).toFixed(2).padStart(7)} s  ${name}`)
    .join('\n');
  const images = record.signed
    .filter(({ platform }) => platform !== undefined && record.signed.length > 1)
    .map(({ platform, digest, session }) => `\n  ${platform} ${digest}, session ${session}`)
    .join('');
  output.result(
    record,
    `${record.image}@${record.digest}${images}\n  built on ${record.builder} in session ${record.session}, log entry ${record.logIndex}\n${steps}\n  ${(record.sessionMs / 1000).toFixed(2)} s of these are what the session cost`,
  );
}

function secondsOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw cliError('USAGE', '--attest-every takes a whole number of seconds.');
}
