import { fromUtf8, isDigest, KallioError } from '@kallio/codec';
import { MAX_BUNDLE, publicKeyOfPem, verifyBundleWithKey } from '@kallio/signature';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { readBeyond, readFile } from '../files.ts';

interface Flags {
  readonly bundle: string;
  readonly key: string;
  readonly trustedRoot: string;
}

/** `kallio bundle`: Sigstore bundles of any maker. */
export function bundleCommand(context: Context): Command {
  const bundle = command(
    'bundle',
    'Sigstore bundles of any maker',
    'kallio bundle verify --bundle app.sigstore.json --key k.pub --trusted-root root.json app.tar.gz',
  );
  bundle.addCommand(
    command(
      'verify',
      'verify a bundle with a key one trusts already; what an attestation claims is not judged',
      'kallio bundle verify --bundle app.sigstore.json --key k.pub --trusted-root root.json sha256:…',
    )
      .requiredOption('--bundle <file>', 'the Sigstore bundle (v0.3, signed with a managed key)')
      .requiredOption('--key <file>', 'PEM of the signer’s public key (ECDSA P-256)')
      .requiredOption('--trusted-root <file>', 'the Sigstore trusted root (JSON): logs that are believed')
      .argument('<artifact>', 'the file that was signed, or its digest sha256:…')
      .action((artifact: string, flags: Flags) => verify(context, artifact, flags)),
  );
  return bundle;
}

async function verify(context: Context, artifact: string, flags: Flags): Promise<void> {
  const files = {
    key: readFile(flags.key),
    trustedRoot: readFile(flags.trustedRoot),
    artifact: isDigest(artifact) ? artifact : readFile(artifact),
  };
  try {
    const { logIndex, integratedTime } = verifyBundleWithKey({
      bundle: readBeyond(flags.bundle, MAX_BUNDLE),
      publicKey: publicKeyOfPem(fromUtf8(files.key)).spki,
      trustedRoot: files.trustedRoot,
      artifact: files.artifact,
    });
    context.output.result(
      { ok: true, logIndex, integratedTime },
      `VERIFIED: signed with this key, entry ${logIndex} of a trusted log, ${new Date(integratedTime * 1000).toISOString()}`,
    );
  } catch (error) {
    if (!(error instanceof KallioError) || error.code === 'CLI_FILE') throw error;
    // What can't be read is refused like what doesn't hold: it is the bundle that is judged.
    context.exit = 1;
    const refusal = error.toJSON();
    context.output.result({ ok: false, refusal }, `REFUSED ${refusal.code}: ${refusal.message}`);
  }
}
