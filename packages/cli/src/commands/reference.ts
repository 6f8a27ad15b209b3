import { attesterMeasurements } from '@kallio/protocol';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { readBounded, replaceFile } from '../files.ts';
import { EXIT } from '../output/exit.ts';
import { cliError } from '../output/output.ts';
import { table } from '../output/table.ts';
import type { ReferenceFile, References } from '../reference/fragment.ts';
import type { ScanOutcome } from '../reference/scan.ts';

interface Target {
  readonly out?: string;
  readonly into?: string;
  readonly id?: string;
}

interface ScanFlags extends Target {
  readonly as?: string;
  readonly all?: true;
  readonly mounts?: true;
  readonly paths?: string;
}

interface LearnFlags extends Target, ServerOptions {
  readonly policy?: string;
  readonly paths?: string;
  readonly evidence?: string;
}

interface BootFlags extends Target {
  readonly by: string;
  readonly loader?: string[];
  readonly kernel?: string[];
  readonly initrd?: string[];
  readonly commandLine?: string[];
}

const MAX_BOOT_FILE = 1024 * 1024 * 1024;

/** `kallio reference`: reference values for policies. */
export function referenceCommand(context: Context): Command {
  const reference = command(
    'reference',
    'reference values for policies',
    'kallio reference scan /mnt/root --into device.json',
  );
  reference.addCommand(
    targeted(
      command(
        'scan',
        'take the digests of files: of a root file system, Debian packages, or an OCI image',
        'kallio reference scan /mnt/root --into device.json --paths root.sha256',
      ),
    )
      .argument(
        '<source...>',
        'a folder (a root, .deb files, an OCI layout), a .deb file, or an image reference',
      )
      .option('--as <kind>', 'what the sources are, where it can’t be told: root, packages or image')
      .option(
        '--all',
        'every regular file: for IMA policies that measure what is read (tcb), not only what is executed',
      )
      .option('--mounts', 'also what is mounted below a root')
      .option(
        '--paths <file>',
        'write each path with its digest there, as sha256sum does: kallio policy check reads it',
      )
      .action((sources: string[], flags: ScanFlags) => scan(context, sources, flags)),
  );
  reference.addCommand(
    serverOptions(
      targeted(
        command(
          'learn',
          'take what a machine that you hold to be well has shown the server',
          'kallio reference learn cabinet-7 --policy devices-1 --out device.json',
        ),
      ),
    )
      .argument('<attester>', 'the attester')
      .option(
        '--policy <id>',
        'with --out: write a whole policy of this id, with nothing in it but what is learnt',
      )
      .option('--paths <file>', 'write each measured path with its digest there')
      .option('--evidence <file>', 'keep the evidence there: kallio policy check takes it')
      .action((attester: string, flags: LearnFlags) => learnFrom(context, attester, flags)),
  );
  reference.addCommand(
    targeted(
      command(
        'boot',
        'work out what a boot will measure of its files and command line',
        'kallio reference boot --kernel vmlinuz --initrd initrd.img --command-line "root=/dev/vda ro" --into device.json',
      ),
    )
      .option(
        '--by <loader>',
        'who hands over to the kernel: efi-stub (firmware, systemd-boot) or grub',
        'efi-stub',
      )
      .option('--loader <file...>', 'EFI images that are started before the kernel: shim, GRUB, systemd-boot')
      .option('--kernel <file...>', 'kernels, or unified kernel images')
      .option('--initrd <file...>', 'initial RAM disks')
      .option(
        '--command-line <text...>',
        'command lines, to the letter; for GRUB with the path of the kernel before it',
      )
      .action((flags: BootFlags) => workOut(context, flags)),
  );
  return reference;
}

/** Where reference values go. */
function targeted(one: Command): Command {
  return one
    .option('--out <file>', 'write them there: kallio policy merge puts them into a policy')
    .option('--into <policy>', 'put them into this policy at once')
    .option('--id <id>', 'with --into: the policy’s new id; by default its own, marked');
}

async function scan(context: Context, sources: string[], flags: ScanFlags): Promise<void> {
  const { as } = flags;
  if (as !== undefined && as !== 'root' && as !== 'packages' && as !== 'image') {
    throw cliError('USAGE', 'A source is root, packages or image.');
  }
  requireTarget(flags);
  const [{ scanSources }, { setBytes }] = await Promise.all([
    import('../reference/scan.ts'),
    import('../reference/fragment.ts'),
  ]);
  const outcome = await scanSources(sources, {
    ...(as === undefined ? {} : { as }),
    all: flags.all === true,
    mounts: flags.mounts === true,
    progress: (line) => context.output.progress(line),
  });
  if (flags.paths !== undefined) replaceFile(flags.paths, Buffer.from(outcome.listing));
  const written = await deliver({ file: outcome.file, sets: setBytes(outcome.sets) }, flags);
  // What could not be read has no reference value: whoever relies on this scan must hear of it.
  const unread = outcome.skipped.filter(({ why }) => why !== 'another file system');
  context.exit = unread.length === 0 ? EXIT.ok : EXIT.refused;
  const { sources: from, limits } = outcome.file;
  context.output.result(
    {
      files: outcome.files,
      classes: Object.fromEntries(outcome.counts),
      sources: from,
      skipped: outcome.skipped,
      limits,
      ...written,
    },
    describe(outcome, written, limits),
  );
}

async function learnFrom({ output }: Context, attester: string, flags: LearnFlags): Promise<void> {
  requireTarget(flags);
  if (flags.policy !== undefined && flags.out === undefined) {
    throw cliError('USAGE', 'A whole policy goes to a file of its own: give --out FILE.');
  }
  const [{ learn, policyOf }, { setBytes, writeWithSets }] = await Promise.all([
    import('../reference/learn.ts'),
    import('../reference/fragment.ts'),
  ]);
  const measurements = await withServer(flags, (client) =>
    client.call(attesterMeasurements, { params: { attester } }),
  );
  const learnt = learn(measurements);
  if (flags.paths !== undefined) replaceFile(flags.paths, Buffer.from(learnt.listing));
  if (flags.evidence !== undefined) replaceFile(flags.evidence, Buffer.from(JSON.stringify(measurements)));
  const sets = setBytes(learnt.sets);
  let written: Written;
  if (flags.policy !== undefined && flags.out !== undefined) {
    writeWithSets(flags.out, policyOf(learnt, flags.policy), sets);
    written = { written: flags.out, policy: flags.policy };
  } else written = await deliver({ file: learnt.file, sets }, flags);
  const { state, at, result } = measurements;
  const { limits, reference } = learnt.file;
  output.result(
    { attester, state, at, result, classes: Object.fromEntries(learnt.counts), limits, ...written },
    [
      `${attester} was ${state} at ${at} (${result}).`,
      table(
        ['class', 'values'],
        [
          ...(reference.boot ?? []).map((one) => [`PCR ${one.pcr}, ${one.class}`, String(one.values.length)]),
          ...Object.keys(reference.pcrs ?? {}).map((pcr) => [`PCR ${pcr}`, 'whole value']),
          ...[...learnt.counts].map(([name, count]) => [name, String(count)]),
        ],
        'Nothing was measured.',
      ),
      '',
      writtenTo(written),
      ...limits.map((limit) => `  ${limit}`),
    ].join('\n'),
  );
}

async function workOut({ output }: Context, flags: BootFlags): Promise<void> {
  requireTarget(flags);
  const { by, loader = [], kernel = [], initrd = [], commandLine = [] } = flags;
  if (by !== 'efi-stub' && by !== 'grub') throw cliError('USAGE', 'A kernel is started by efi-stub or grub.');
  if (loader.length + kernel.length + initrd.length + commandLine.length === 0) {
    throw cliError('USAGE', 'Of what? Give --loader, --kernel, --initrd or --command-line.');
  }
  const { bootReferences } = await import('../reference/boot.ts');
  const read = (path: string) => ({ path, bytes: readBounded(path, MAX_BOOT_FILE) });
  const file = bootReferences({
    by,
    loaders: loader.map(read),
    kernels: kernel.map(read),
    initrds: initrd.map(read),
    commandLines: commandLine,
  });
  const written = await deliver({ file, sets: new Map() }, flags);
  const boot = file.reference.boot ?? [];
  const rows = boot.flatMap((one) =>
    one.values.map((value) => [
      String(one.pcr),
      one.class,
      value.name,
      'digest' in value ? value.digest : 'text',
    ]),
  );
  output.result(
    { boot, limits: file.limits, ...written },
    [
      table(['PCR', 'class', 'what', 'SHA-256'], rows, 'Nothing.'),
      '',
      writtenTo(written),
      ...file.limits.map((limit) => `  ${limit}`),
    ].join('\n'),
  );
}

function writtenTo({ written, policy }: Written): string {
  return `Written to ${written}${policy === undefined ? '' : `, policy ${policy}`}.`;
}

function requireTarget({ out, into }: Target): void {
  if ((out === undefined) === (into === undefined)) {
    throw cliError('USAGE', 'Where to? Give --out FILE or --into POLICY.');
  }
}

interface Written {
  readonly written: string;
  /** The id that the policy has now. */
  readonly policy?: string;
}

/** Writes reference values to a file, or into a policy. */
async function deliver(references: References, { out, into, id }: Target): Promise<Written> {
  const { writeWithSets } = await import('../reference/fragment.ts');
  if (out !== undefined) {
    writeWithSets(out, references.file, references.sets);
    return { written: out };
  }
  const { mergeInto } = await import('../reference/merge-file.ts');
  const target = into ?? '';
  return { written: target, policy: mergeInto(target, [references], target, id) };
}

function describe(outcome: ScanOutcome, written: Written, limits: ReferenceFile['limits']): string {
  const rows = [...outcome.counts].map(([name, count]) => [name, String(count)]);
  const { skipped } = outcome;
  const shown = skipped.slice(0, 20).map(({ path, why }) => `  ${path}: ${why}`);
  return [
    table(['class', 'digests'], rows, 'No file.'),
    '',
    ...(skipped.length === 0 ? [] : [`Passed over, ${skipped.length}:`, ...shown, '']),
    `${outcome.files} files. ${writtenTo(written)}`,
    ...limits.map((limit) => `  ${limit}`),
  ].join('\n');
}
