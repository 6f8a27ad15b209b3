import { fromBase64, fromUtf8, KallioError } from '@kallio/codec';
import { publishReferrer } from '@kallio/oci';
import { LOG_CHECKPOINT, logEntry, logProof, trustShow } from '@kallio/protocol';
import { bundlesOf, makeTrustedRoot, parseBundle, proofArtifact } from '@kallio/signature';
import { trustedLog, verifyLogEntry } from '@kallio/tlog';
import type { Command } from 'commander';
import { type ServerOptions, withServer } from '../connect.ts';
import { type Context, command, serverOptions } from '../context.ts';
import { namedImage } from '../images.ts';
import { cliError } from '../output/output.ts';

/** `kallio log`: the transparency log. */
export function logCommand(context: Context): Command {
  const log = command('log', 'the transparency log', 'kallio log checkpoint');
  log
    .addCommand(
      serverOptions(command('checkpoint', 'the newest signed head', 'kallio log checkpoint')).action(
        (flags: ServerOptions) => checkpoint(context, flags),
      ),
    )
    .addCommand(
      serverOptions(command('entry', 'an entry, its proof verified here', 'kallio log entry 0'))
        .argument('<index>')
        .action((index: string, flags: ServerOptions) => entry(context, index, flags)),
    )
    .addCommand(
      serverOptions(
        command(
          'proof',
          'an entry’s proof under a head that the log’s witnesses have signed (C2SP tlog-proof)',
          'kallio log proof 17 --attach registry.example.org/app:1',
        ),
      )
        .argument('<index>')
        .option('--attach <image>', 'attach it to the image whose signature the entry is of')
        .action((index: string, flags: ServerOptions & { attach?: string }) => proof(context, index, flags)),
    )
    .addCommand(
      serverOptions(
        command(
          'trusted-root',
          'a Sigstore trusted root that trusts this log and nothing else, for cosign and its like',
          'kallio log trusted-root > trusted-root.json',
        ),
      ).action((flags: ServerOptions) => trustedRoot(context, flags)),
    );
  return log;
}

async function checkpoint({ output }: Context, flags: ServerOptions): Promise<void> {
  const bytes = await withServer(flags, (client) => client.raw('GET', LOG_CHECKPOINT), 'public');
  const text = new TextDecoder().decode(bytes);
  output.result({ checkpoint: text }, text);
}

async function entry({ output }: Context, index: string, flags: ServerOptions): Promise<void> {
  const { found, trust } = await withServer(
    flags,
    async (client) => ({
      found: await client.call(logEntry, { params: { index: Number(index) } }),
      trust: await client.call(trustShow, {}),
    }),
    'public',
  );
  verifyLogEntry(found, trustedLog(fromBase64(trust.log.publicKey), trust.log.origin));
  const { inclusionProof } = found;
  output.result(
    { ...found, verified: true },
    `entry ${found.logIndex} of ${trust.log.origin}, integrated ${new Date(found.integratedTime * 1000).toISOString()}
  included in the tree of ${inclusionProof.treeSize} entries, root ${inclusionProof.rootHash}: proof and signatures hold`,
  );
}

async function proof(
  { output }: Context,
  index: string,
  flags: ServerOptions & { readonly attach?: string },
): Promise<void> {
  const reply = await withServer(
    flags,
    (client) => client.call(logProof, { params: { index: Number(index) } }),
    'public',
  );
  if (flags.attach === undefined) {
    output.result(reply, reply.proof.trimEnd());
    return;
  }
  const named = await namedImage(flags.attach);
  const target = await named.openTarget();
  const source = await named.open();
  const found = await source.manifest(named.reference);
  // Stops a mistyped index: whoever demands witnesses would find a proof, and of nothing that the image has.
  const entries = (await bundlesOf(source, found.digest)).flatMap(entryOf);
  if (!entries.includes(Number(index))) {
    const theirs = entries.length === 0 ? 'it has none' : `its signatures have ${entries.join(', ')}`;
    throw cliError(
      'LOG_OTHER_IMAGE',
      `Entry ${index} is of no signature of ${found.digest}: ${theirs}.`,
      'kallio verify says which entry a signature has.',
    );
  }
  await publishReferrer(target, found, proofArtifact(reply.proof));
  await target.settle();
  output.result(
    { ...reply, attached: found.digest },
    `attached to ${found.digest}\n  signed by ${reply.witnesses.length === 0 ? 'no witness' : reply.witnesses.join(', ')}`,
  );
}

/** The log entry that a bundle names, if it is one of ours. */
function entryOf(bundle: Uint8Array): number[] {
  try {
    return [parseBundle(bundle).entry.logIndex];
  } catch (error) {
    if (error instanceof KallioError) return [];
    throw error;
  }
}

async function trustedRoot({ output }: Context, flags: ServerOptions): Promise<void> {
  const { log } = await withServer(flags, (client) => client.call(trustShow, {}), 'public');
  // A log's key is the log: it was this log's from its first entry on.
  const root = makeTrustedRoot([
    { publicKey: fromBase64(log.publicKey), origin: log.origin, validFrom: new Date(0) },
  ]);
  output.result(JSON.parse(fromUtf8(root)), fromUtf8(root));
}
