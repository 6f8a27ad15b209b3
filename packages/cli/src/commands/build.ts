import type { Command } from 'commander';
import type { BuildRecord } from '../build/build.ts';
import { type Context, command } from '../context.ts';
import { cliError } from '../output/output.ts';

interface Flags {
  readonly tag: string;
  readonly agent: string;
  readonly builder?: string;
  readonly platform?: string;
  readonly index?: boolean;
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
      'a shell command that leaves an OCI layout at the path $OUT (a folder or a tar archive), instead of buildah',
    )
    .option(
      '--platform <list>',
      'os/architecture[/variant],…: what to build for; of several, an index over an image for each',
    )
    .option('--index', 'build an index also over one image')
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
  context: Context,
  folder: string,
  flags: readonly string[],
  options: Flags,
): Promise<void> {
  const { buildImage } = await import('../build/build.ts');
  const { Interrupted } = await import('../build/interrupt.ts');
  const platforms = await platformsOf(options.platform);
  try {
    const record = await buildImage({
      context: folder,
      tag: options.tag,
      agent: options.agent,
      flags,
      reproducible: options.reproducible === true,
      platforms,
      index: options.index === true || platforms.length > 1,
      ...(options.builder === undefined ? {} : { builder: options.builder }),
      ...(options.attestEvery === undefined ? {} : { attestEvery: secondsOf(options.attestEvery) }),
      say: (line) => context.output.progress(line),
    });
    context.output.result(record, described(record));
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    context.output.failure(error);
    context.exit = error.exit;
  }
}

function described(record: BuildRecord): string {
  const steps = record.steps
    .map(({ name, ms }) => `  ${(ms / 1000).toFixed(2).padStart(7)} s  ${name}`)
    .join('\n');
  const images = record.signed
    .filter(({ platform }) => platform !== undefined && record.signed.length > 1)
    .map(({ platform, digest, session }) => `\n  ${platform} ${digest}, session ${session}`)
    .join('');
  const { leftOut } = record;
  const beside =
    leftOut === undefined
      ? ''
      : `\n  without the index that the builder put around it, and ${leftOut.attestations} attestation manifests in that: --index keeps them`;
  return `${record.image}@${record.digest}${images}${beside}\n  built on ${record.builder} in session ${record.session}, log entry ${record.logIndex}\n${steps}\n  ${(record.sessionMs / 1000).toFixed(2)} s of these are what the session cost`;
}

/** The platforms' names, each once; `USAGE`. */
async function platformsOf(list?: string): Promise<readonly string[]> {
  if (list === undefined) return [];
  const { parsePlatform, platformName } = await import('@kallio/oci');
  const names = list.split(',').map((text) => {
    const platform = parsePlatform(text);
    if (platform === undefined) {
      throw cliError(
        'USAGE',
        `${JSON.stringify(text)} is no platform: write os/architecture or os/architecture/variant.`,
      );
    }
    const other = OTHERWISE.get(platform.architecture);
    if (other === undefined) return platformName(platform);
    throw cliError('USAGE', `${platform.architecture} is called ${other} in images.`);
  });
  if (new Set(names).size < names.length)
    throw cliError('USAGE', `--platform names one twice: ${names.join(',')}.`);
  return names;
}

/** Names of architectures that others use; builders understand them, and write Go's. */
const OTHERWISE: ReadonlyMap<string, string> = new Map([
  ['aarch64', 'arm64'],
  ['x86', '386'],
  ['i386', '386'],
  ['armhf', 'arm/v7'],
  ['armel', 'arm/v6'],
]);

function secondsOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw cliError('USAGE', '--attest-every takes a whole number of seconds.');
}
