import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, fromUtf8, parseDigest, utf8 } from '@kallio/codec';
import { type Artifact, parseManifest, parseReference, publishReferrer, Repository } from '@kallio/oci';
import {
  BUNDLE_MEDIA_TYPE,
  bundleArtifact,
  keyHint,
  makeBundle,
  makeTrustedRoot,
  PREDICATE_TYPE,
  PROVENANCE_TYPE,
  publicKeyOfPem,
} from '@kallio/signature';
import { type Envelope, LogWriter, logOrigin, rekorDsseBody } from '@kallio/tlog';
import { bundleFromJSON } from '@sigstore/bundle';
import { PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { debianPeer, type Peer, type Suite } from '../src/peers/debian.ts';
import { must, run } from '../src/site/process.ts';
import { Site } from '../src/site/site.ts';

/*
 * An image built and signed by the main path, judged by other people's verifiers: with the signing key that
 * `kallio verify` wrote down and the trusted root that `kallio log trusted-root` wrote. Beside each, the same image with a
 * signature that the log has not seen, and with one that does not hold: which the same verifier must refuse, for that.
 */

const SUITES: readonly Suite[] = ['trixie', 'sid'];
/** What docs/formats.md says was tested. Debian's unstable release goes on: of what comes from there, at least that. */
const DOCUMENTED: ReadonlyMap<string, string> = new Map([
  ['cosign trixie', '2.5.0'],
  ['cosign sid', '3.1.1'],
  ['sigstore-go sid', '1.3.0'],
]);
const { version: sigstoreVersion } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../node_modules/@sigstore/verify/package.json'), 'utf8'),
) as { version: string };
const peers = new Map<string, Peer>();
let site: Site;
let digest: Digest;
/** The image where it was pushed, and under other names with another signature alone, by {@link Variant}. */
let images: Readonly<Record<Variant | 'built', string>>;
let bundles: Readonly<Record<Variant | 'built', string>>;
let files: { key: string; root: string; ownRoot: string };

/**
 * `unlogged` has one bit of its signature changed after it was logged. Of a log of this test, which takes what no log should:
 * `honest`, the very envelope that was built, and `invalid`, that one with the bit changed and logged like that.
 */
type Variant = 'unlogged' | 'honest' | 'invalid';

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
  const image = `${site.registry}/sensor-gateway@${digest}`;
  const file = (name: string) => join(site.dir, name);
  files = { key: file('signer.pub'), root: file('trusted-root.json'), ownRoot: file('own-root.json') };
  await site.run('verify', image, '--policy', site.imagePolicy, '--key-out', files.key);
  await writeFile(files.root, JSON.stringify(await site.run('log', 'trusted-root')));
  const bundle = await bundleOf(new Repository(parseReference(image)));
  const made: Record<Variant, Uint8Array> = {
    unlogged: utf8(JSON.stringify(flipped(JSON.parse(fromUtf8(bundle))))),
    ...(await inOwnLog(bundle)),
  };
  const names = { built: image, unlogged: '', honest: '', invalid: '' };
  const written = { built: file('built.sigstore.json'), unlogged: '', honest: '', invalid: '' };
  await writeFile(written.built, bundle);
  for (const variant of ['unlogged', 'honest', 'invalid'] as const) {
    names[variant] = await copyWith(image, variant, bundleArtifact(made[variant]));
    written[variant] = file(`${variant}.sigstore.json`);
    await writeFile(written[variant], made[variant]);
  }
  images = names;
  bundles = written;
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

interface Signed {
  readonly dsseEnvelope: Envelope;
}

/** The same with one bit of its signature changed. */
function flipped<T extends Signed>(document: T): T {
  const { dsseEnvelope } = document;
  const signatures = dsseEnvelope.signatures.map(({ sig }) => {
    const bytes = Buffer.from(sig, 'base64');
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
    return { sig: bytes.toString('base64') };
  });
  return { ...document, dsseEnvelope: { ...dsseEnvelope, signatures } };
}

/** The built signature, and one that doesn't hold, each logged as it is; writes the trusted root that names their log. */
async function inOwnLog(bundle: Uint8Array): Promise<{ honest: Uint8Array; invalid: Uint8Array }> {
  const { spki } = publicKeyOfPem(await readFile(files.key, 'utf8'));
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const logKey = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
  const origin = logOrigin('log.test', logKey);
  const ed25519 = generateKeyPairSync('ed25519').privateKey;
  await mkdir(join(site.dir, 'own-log'));
  const log = await LogWriter.open(join(site.dir, 'own-log'), {
    origin,
    keys: { p256: privateKey, ed25519 },
    now: () => new Date(),
  });
  const signed = JSON.parse(fromUtf8(bundle)) as Signed;
  // Older clients take an index of 0 for one that is absent.
  await log.add(utf8('{}'));
  const logged = async ({ dsseEnvelope }: Signed) =>
    makeBundle(dsseEnvelope, spki, await log.add(rekorDsseBody(dsseEnvelope, spki)));
  const made = { honest: await logged(signed), invalid: await logged(flipped(signed)) };
  await log.close();
  await writeFile(files.ownRoot, makeTrustedRoot([{ publicKey: logKey, origin, validFrom: new Date(0) }]));
  return made;
}

/** Copies the image to another repository, and attaches only this. */
async function copyWith(image: string, repository: string, artifact: Artifact): Promise<string> {
  const name = `${site.registry}/${repository}`;
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

/** What they say of a signature that is not the logged one, and of one that does not hold. */
const UNLOGGED = /transparency log signature does not match/;
const INVALID =
  /failed to verify signature: could not verify envelope: accepted signatures do not match threshold/;

describe('the verifiers that were fetched', () => {
  it('are of the versions that are documented, or later ones of the same kind', () => {
    const found: string[] = [];
    for (const [name, documented] of DOCUMENTED) {
      const peer = peers.get(name);
      found.push(`${name}: ${peer?.missing ?? peer?.version}`);
      if (peer === undefined || peer.missing !== undefined) continue;
      const [major, ...rest] = peer.version.split('.').map(Number);
      const [wanted, ...least] = documented.split('.').map(Number);
      expect(major).toBe(wanted);
      if (name.endsWith('trixie')) expect(peer.version).toBe(documented);
      else
        expect(rest.join('.').localeCompare(least.join('.'), 'en', { numeric: true })).toBeGreaterThanOrEqual(
          0,
        );
    }
    found.push(`@sigstore/verify: ${sigstoreVersion}`);
    expect(sigstoreVersion).toMatch(/^4\./);
    process.stdout.write(`Judged by ${found.join('; ')}.\n`);
  });
});

describe.each(SUITES)('cosign of Debian %s', (suite) => {
  // 3.x takes bundles without being asked.
  const asked = suite === 'trixie' ? ['--new-bundle-format'] : [];
  const trust = (root: string) => ['--key', files.key, '--trusted-root', root, '--allow-http-registry'];

  /** Accepts the image as it was built, and of the others what is honest; refuses the rest for what it is. */
  async function judgesBy(bin: string, command: string, ...flags: string[]): Promise<void> {
    const judge = async (variant: Variant | 'built', root: string) =>
      run(join(bin, 'cosign'), [command, ...trust(root), ...flags, images[variant]], {
        env: await nowhere(),
      });
    for (const accepted of [await judge('built', files.root), await judge('honest', files.ownRoot)]) {
      expect(accepted.stderr).toContain('Verification for');
      expect(accepted.code).toBe(0);
    }
    expect(await judge('unlogged', files.root)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(UNLOGGED),
    });
    expect(await judge('invalid', files.ownRoot)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(INVALID),
    });
  }

  it('verify-attestation accepts the image, and refuses it with another signature', async (test) => {
    const bin = programs(test, `cosign ${suite}`);
    await judgesBy(bin, 'verify-attestation', ...asked, '--type', PREDICATE_TYPE);
    // The SLSA provenance beside it, for whoever knows only that.
    const slsa = [
      'verify-attestation',
      ...trust(files.root),
      ...asked,
      '--type',
      PROVENANCE_TYPE,
      images.built,
    ];
    expect(await run(join(bin, 'cosign'), slsa, { env: await nowhere() })).toMatchObject({ code: 0 });
  });

  it('verify accepts the image, and refuses it with another signature', async (test) => {
    // 2.x has verify-attestation for attestations; its verify knows the older tag sha256-….sig alone.
    if (suite === 'trixie')
      test.skip('cosign 2.5 verify reads no attestations, and no bundles in a registry');
    await judgesBy(programs(test, `cosign ${suite}`), 'verify');
  });
});

describe.each(SUITES)('sigstore-go of Debian %s', (suite) => {
  it('accepts the bundle for the image’s digest, and refuses another', async (test) => {
    // Its library takes keys, and is what cosign 2.5 verifies with.
    if (suite === 'trixie') test.skip('the program of sigstore-go 0.7 verifies certificates only');
    const bin = programs(test, `sigstore-go ${suite}`);
    const judge = async (variant: Variant | 'built', root: string) =>
      run(
        join(bin, 'sigstore-go-verification'),
        [
          ...['-publicKey', files.key, '-trustedrootJSONpath', root, '-requireCTlog=false'],
          ...['-artifact-digest', digest.slice('sha256:'.length), bundles[variant]],
        ],
        { env: await nowhere() },
      );
    for (const accepted of [await judge('built', files.root), await judge('honest', files.ownRoot)]) {
      expect(accepted.stderr).toContain('Verification successful');
      expect(accepted.code).toBe(0);
    }
    const unlogged = await judge('unlogged', files.root);
    expect(unlogged.stderr).toMatch(UNLOGGED);
    const invalid = await judge('invalid', files.ownRoot);
    expect(invalid.stderr).toMatch(INVALID);
    for (const { code } of [unlogged, invalid]) expect(code).not.toBe(0);
  });
});

describe('@sigstore/verify', () => {
  it('accepts the bundle, and refuses another', async () => {
    const { spki } = publicKeyOfPem(await readFile(files.key, 'utf8'));
    const publicKey = {
      rawBytes: Buffer.from(spki),
      keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
      validFor: { start: new Date(0) },
    };
    const verify = async (variant: Variant | 'built', rootFile: string) => {
      const root = TrustedRoot.fromJSON(JSON.parse(await readFile(rootFile, 'utf8')));
      const material = toTrustMaterial(root, { [keyHint(spki)]: publicKey });
      const verifier = new Verifier(material, { tlogThreshold: 1, timestampThreshold: 1 });
      verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(await readFile(bundles[variant], 'utf8')))));
    };
    await verify('built', files.root);
    await verify('honest', files.ownRoot);
    await expect(verify('unlogged', files.root)).rejects.toMatchObject({ code: 'TLOG_BODY_ERROR' });
    await expect(verify('invalid', files.ownRoot)).rejects.toMatchObject({ code: 'SIGNATURE_ERROR' });
  });
});

describe('kallio bundle verify', () => {
  const verify = (bundle: string, artifact: string, root = files.root) =>
    site.try(
      ...['bundle', 'verify', '--bundle', bundle, '--key', files.key, '--trusted-root', root, artifact],
    );

  it('accepts the bundle with the same key and trusted root, and refuses another', async () => {
    for (const [variant, root] of [
      ['built', files.root],
      ['honest', files.ownRoot],
    ] as const) {
      expect(await verify(bundles[variant], digest, root)).toMatchObject({ exit: 0, json: { ok: true } });
    }
    for (const [variant, root] of [
      ['unlogged', files.root],
      ['invalid', files.ownRoot],
    ] as const) {
      expect(await verify(bundles[variant], digest, root)).toMatchObject({
        exit: 1,
        json: { ok: false, refusal: { code: 'SIGNATURE_INVALID' } },
      });
    }
    expect(await verify(bundles.built, `sha256:${'0'.repeat(64)}`)).toMatchObject({
      exit: 1,
      json: { ok: false, refusal: { code: 'SIGNATURE_SUBJECT_MISMATCH' } },
    });
  });
});
