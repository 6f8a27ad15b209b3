import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, parseDigest } from '@kallio/codec';
import { type Artifact, parseManifest, parseReference, publishReferrer, Repository } from '@kallio/oci';
import {
  BUNDLE_MEDIA_TYPE,
  bundleArtifact,
  keyHint,
  PREDICATE_TYPE,
  PROVENANCE_TYPE,
  publicKeyOfPem,
} from '@kallio/signature';
import { bundleFromJSON } from '@sigstore/bundle';
import { PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { debianPeer, type Peer, type Suite } from '../src/peers/debian.ts';
import { must, run } from '../src/site/process.ts';
import { Site } from '../src/site/site.ts';

/*
 * An image built and signed by the main path, judged by other people's verifiers: with the signing key that
 * `kallio verify` wrote down and the trusted root that `kallio log trusted-root` wrote. Beside each, the same image
 * with a signature that was tampered with, which the same verifier must refuse.
 */

const SUITES: readonly Suite[] = ['trixie', 'sid'];
const peers = new Map<string, Peer>();
let site: Site;
let image: string;
/** The same image under another name, with a signature of it that doesn't hold. */
let forged: string;
let digest: Digest;
let files: { key: string; root: string; bundle: string; forgedBundle: string };

beforeAll(async () => {
  site = await Site.create();
  const fetched = Promise.all(
    SUITES.flatMap((suite) =>
      ['cosign', 'sigstore-go'].map(async (name) =>
        peers.set(`${name} ${suite}`, await debianPeer(suite, name)),
      ),
    ),
  );
  await Promise.all([site.startRegistry(), site.makeTpms(), site.startServer()]);
  await site.startMachine(site.builder, 0);
  const context = await site.applicationContext('app');
  const tag = `${site.registry}/sensor-gateway:1`;
  const built = (await site.run('build', '-t', tag, context, '--agent', site.builder.socket)) as {
    digest: string;
  };
  digest = parseDigest(built.digest);
  image = `${site.registry}/sensor-gateway@${digest}`;
  const file = (name: string) => join(site.dir, name);
  files = {
    key: file('signer.pub'),
    root: file('trusted-root.json'),
    bundle: file('app.sigstore.json'),
    forgedBundle: file('forged.sigstore.json'),
  };
  await site.run('verify', image, '--policy', site.imagePolicy, '--key-out', files.key);
  await writeFile(files.root, JSON.stringify(await site.run('log', 'trusted-root')));
  const bundle = await bundleOf(new Repository(parseReference(image)));
  await writeFile(files.bundle, bundle);
  const bad = flipSignature(bundle);
  await writeFile(files.forgedBundle, bad);
  forged = await copyWith(bundleArtifact(bad));
  await fetched;
  // Package lists of two Debian releases the first time.
}, 420_000);
afterAll(() => site.destroy());

/** The bundle that is attached to the image. */
async function bundleOf(repository: Repository): Promise<Uint8Array> {
  const all = await repository.referrers(digest, BUNDLE_MEDIA_TYPE);
  const listed = all.find(
    ({ annotations }) => annotations?.['dev.sigstore.bundle.predicateType'] === PREDICATE_TYPE,
  );
  const found = await repository.manifest(listed?.digest ?? '');
  const manifest = parseManifest(found.bytes, found.mediaType);
  if (manifest.kind !== 'manifest' || manifest.layers[0] === undefined) throw new Error('no bundle');
  return repository.blob(manifest.layers[0], 1 << 20);
}

/** The bundle with one bit of its signature changed, in envelope and log entry alike. */
function flipSignature(bundle: Uint8Array): Uint8Array {
  const text = Buffer.from(bundle).toString();
  const document = JSON.parse(text) as { dsseEnvelope: { signatures: { sig: string }[] } };
  const signature = document.dsseEnvelope.signatures[0];
  if (signature === undefined) throw new Error('no signature');
  const bytes = Buffer.from(signature.sig, 'base64');
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  signature.sig = bytes.toString('base64');
  return new Uint8Array(Buffer.from(JSON.stringify(document)));
}

/** Copies the image to another repository, and attaches only this. */
async function copyWith(artifact: Artifact): Promise<string> {
  const name = `${site.registry}/forged`;
  await must('skopeo', [
    ...['copy', '--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests'],
    ...[`docker://${image}`, `docker://${name}:1`],
  ]);
  const target = new Repository(parseReference(`${name}:1`));
  await publishReferrer(target, await target.manifest(digest), artifact);
  return `${name}@${digest}`;
}

/** The programs of a fetched package; without them the test is skipped, and says which could not be had. */
function programs(test: TestContext, name: string): string {
  const peer = peers.get(name);
  if (peer === undefined || peer.missing !== undefined) {
    test.skip(peer?.missing ?? `${name} was not fetched`);
    throw new Error('unreachable');
  }
  return peer.bin;
}

/** Environment in which a verifier finds nothing but what it is given. */
async function nowhere(): Promise<Record<string, string>> {
  const home = join(site.dir, 'peer-home');
  await mkdir(home, { recursive: true });
  return { HOME: home, TUF_ROOT: join(home, 'tuf'), SIGSTORE_NO_CACHE: '1' };
}

describe.each(SUITES)('cosign of Debian %s', (suite) => {
  // 3.x takes bundles without being asked.
  const bundles = suite === 'trixie' ? ['--new-bundle-format'] : [];
  const trust = () => ['--key', files.key, '--trusted-root', files.root, '--allow-http-registry'];

  it('verify-attestation accepts the image, and refuses it with another signature', async (test) => {
    const bin = programs(test, `cosign ${suite}`);
    const args = ['verify-attestation', ...trust(), ...bundles, '--type', PREDICATE_TYPE];
    const accepted = await run(join(bin, 'cosign'), [...args, image], { env: await nowhere() });
    expect(accepted.stderr).toContain('Verification for');
    expect(accepted.code).toBe(0);
    const refused = await run(join(bin, 'cosign'), [...args, forged], { env: await nowhere() });
    expect(refused.code).not.toBe(0);
    // The SLSA provenance beside it, for whoever knows only that.
    const slsa = ['verify-attestation', ...trust(), ...bundles, '--type', PROVENANCE_TYPE, image];
    expect(await run(join(bin, 'cosign'), slsa, { env: await nowhere() })).toMatchObject({ code: 0 });
  });

  it('verify accepts the image, and refuses it with another signature', async (test) => {
    // 2.x has verify-attestation for attestations; its verify knows the older tag sha256-….sig alone.
    if (suite === 'trixie')
      test.skip('cosign 2.5 verify reads no attestations, and no bundles in a registry');
    const bin = programs(test, `cosign ${suite}`);
    const args = ['verify', ...trust()];
    const accepted = await run(join(bin, 'cosign'), [...args, image], { env: await nowhere() });
    expect(accepted.stderr).toContain('Verification for');
    expect(accepted.code).toBe(0);
    const refused = await run(join(bin, 'cosign'), [...args, forged], { env: await nowhere() });
    expect(refused.code).not.toBe(0);
  });
});

describe.each(SUITES)('sigstore-go of Debian %s', (suite) => {
  it('accepts the bundle for the image’s digest, and refuses another', async (test) => {
    // Its library takes keys, and is what cosign 2.5 verifies with.
    if (suite === 'trixie') test.skip('the program of sigstore-go 0.7 verifies certificates only');
    const bin = programs(test, `sigstore-go ${suite}`);
    const args = (bundle: string) => [
      ...['-publicKey', files.key, '-trustedrootJSONpath', files.root, '-requireCTlog=false'],
      ...['-artifact-digest', digest.slice('sha256:'.length), bundle],
    ];
    const program = join(bin, 'sigstore-go-verification');
    const accepted = await run(program, args(files.bundle), { env: await nowhere() });
    expect(accepted.stderr).toContain('Verification successful');
    expect(accepted.code).toBe(0);
    const refused = await run(program, args(files.forgedBundle), { env: await nowhere() });
    expect(refused.code).not.toBe(0);
  });
});

describe('@sigstore/verify', () => {
  it('accepts the bundle, and refuses another', async () => {
    const { spki } = publicKeyOfPem(await readFile(files.key, 'utf8'));
    const root = TrustedRoot.fromJSON(JSON.parse(await readFile(files.root, 'utf8')));
    const publicKey = {
      rawBytes: Buffer.from(spki),
      keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
      validFor: { start: new Date(0) },
    };
    const material = toTrustMaterial(root, { [keyHint(spki)]: publicKey });
    const verifier = new Verifier(material, { tlogThreshold: 1, timestampThreshold: 1 });
    const verify = async (file: string) =>
      verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(await readFile(file, 'utf8')))));
    await verify(files.bundle);
    await expect(verify(files.forgedBundle)).rejects.toThrow();
  });
});

describe('kallio bundle verify', () => {
  const verify = (bundle: string, artifact: string) =>
    site.try(
      ...['bundle', 'verify', '--bundle', bundle, '--key', files.key, '--trusted-root', files.root, artifact],
    );

  it('accepts the bundle with the same key and trusted root, and refuses another', async () => {
    expect(await verify(files.bundle, digest)).toMatchObject({ exit: 0, json: { ok: true } });
    expect(await verify(files.forgedBundle, digest)).toMatchObject({
      exit: 1,
      json: { ok: false, refusal: { code: 'SIGNATURE_INVALID' } },
    });
    expect(await verify(files.bundle, `sha256:${'0'.repeat(64)}`)).toMatchObject({
      exit: 1,
      json: { ok: false, refusal: { code: 'SIGNATURE_SUBJECT_MISMATCH' } },
    });
  });
});
