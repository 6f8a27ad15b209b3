import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalBytes, digestOf, sha256, toBase64 } from '@kallio/codec';
import { bundleEntryOf, makeTrustedRoot } from '@kallio/signature';
import { LogWriter, logOrigin, pemOf, verifierOf } from '@kallio/tlog';

function newKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, spki: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })) };
}

/**
 * A file, its bundle as cosign sign-blob makes one with a managed key, the key, and a trusted root that names its log:
 * `app.tar.gz`, `app.sigstore.json`, `k.pub` and `root.json` in the folder, and a stranger's `other.pub`.
 */
export async function writeSignedFile(dir: string, bytes: Uint8Array): Promise<void> {
  const [key, logKey] = [newKey(), newKey()];
  const origin = logOrigin('log.example', logKey.spki);
  const keys = { p256: logKey.privateKey, ed25519: generateKeyPairSync('ed25519').privateKey };
  const folder = join(dir, 'log');
  mkdirSync(folder);
  const log = await LogWriter.open(folder, { origin, keys, now: () => new Date() });
  const signature = toBase64(new Uint8Array(sign('sha256', bytes, key.privateKey)));
  const digest = digestOf(bytes).slice('sha256:'.length);
  const entry = await log.add(
    canonicalBytes({
      apiVersion: '0.0.1',
      kind: 'hashedrekord',
      spec: {
        data: { hash: { algorithm: 'sha256', value: digest } },
        signature: { content: signature, publicKey: { content: verifierOf(key.spki) } },
      },
    }),
  );
  await log.close();
  const bundle = {
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: {
      publicKey: { hint: toBase64(sha256(key.spki)) },
      tlogEntries: [bundleEntryOf(entry, 'hashedrekord')],
    },
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: toBase64(sha256(bytes)) },
      signature,
    },
  };
  writeFileSync(join(dir, 'app.tar.gz'), bytes);
  writeFileSync(join(dir, 'app.sigstore.json'), JSON.stringify(bundle));
  writeFileSync(join(dir, 'k.pub'), pemOf(key.spki));
  writeFileSync(join(dir, 'other.pub'), pemOf(newKey().spki));
  const trusted = { publicKey: logKey.spki, origin, validFrom: new Date(0) };
  writeFileSync(join(dir, 'root.json'), makeTrustedRoot([trusted]));
}
