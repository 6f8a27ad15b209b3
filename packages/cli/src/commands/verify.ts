import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { type VerifyFlags, verify } from '../verifying.ts';

/** `kallio verify`: may this image run? */
export function verifyCommand(context: Context): Command {
  return command(
    'verify',
    'judge an image’s signature, step by step',
    'kallio verify registry.example.org/app:1 --policy image-policy.json',
  )
    .argument(
      '<image>',
      'registry/repository:tag, registry/repository@sha256:…, oci:FOLDER or oci:FOLDER:TAG',
    )
    .requiredOption('--policy <file>', 'the image policy')
    .option(
      '--key-out <file>',
      'write the verified signing key there (PEM), for clients that know no sessions',
    )
    .option(
      '--bundle <file>',
      'judge this bundle instead of what is attached to the image; of an index, to the image that is taken from it',
    )
    .option(
      '--proof <file>',
      'with --bundle: a witnessed proof of its log entry, as kallio log proof writes it',
    )
    .option('--evidence', 'also verify the raw evidence that is attached to the image')
    .action((image: string, flags: VerifyFlags) => verify(context, image, flags));
}
