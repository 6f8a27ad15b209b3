import type { Command } from 'commander';
import { type Context, command } from '../context.ts';

/** `kallio policy merge`: more reference values for a policy. */
export function policyMergeCommand(context: Context): Command {
  return command(
    'merge',
    'put files of reference values into a policy; what it allows already stays allowed',
    'kallio policy merge device.json root.json boot.json --out device-2.json',
  )
    .argument('<policy>', 'the policy')
    .argument('<references...>', 'files of kallio reference, with the folder sets beside them')
    .option('--out <file>', 'where to; left out, the policy is replaced')
    .option('--id <id>', 'the new policy’s id; by default its own, marked')
    .action((policy: string, files: string[], flags: { out?: string; id?: string }) =>
      merge(context, policy, files, flags),
    );
}

async function merge(
  { output }: Context,
  policy: string,
  files: readonly string[],
  { out = policy, id }: { readonly out?: string; readonly id?: string },
): Promise<void> {
  const [{ readReferences }, { mergeInto }] = await Promise.all([
    import('../reference/fragment.ts'),
    import('../reference/merge-file.ts'),
  ]);
  const merged = mergeInto(policy, files.map(readReferences), out, id);
  output.result({ written: out, policy: merged }, `${out} is now the policy ${merged}.`);
}
