import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { issueEar, type SessionClaims } from '@kallio/appraisal';
import { type Digest, digestOf, toBase64, utf8 } from '@kallio/codec';
import { configClaims, type FileManifest, fileManifestBytes, fileManifestDigest, MEDIA } from '@kallio/oci';
import {
  buildStatement,
  type Claims,
  type ImagePolicy,
  keyDigest,
  makeBundle,
  makeEnvelope,
  makeTrustedRoot,
  PAYLOAD_TYPE,
  pae,
  statementDigest,
} from '@kallio/signature';
import { LogWriter, logOrigin, rekorDsseBody } from '@kallio/tlog';

/** A signed image with keys in software: no verifier sees the difference. */
export interface Signed {
  readonly blobs: readonly Uint8Array[];
  readonly config: Uint8Array;
  readonly manifest: Uint8Array;
  readonly digest: Digest;
  readonly bundle: Uint8Array;
  readonly fileManifest: Uint8Array;
  readonly policy: ImagePolicy;
  /** SPKI of the signing key. */
  readonly spki: Uint8Array;
  readonly trustedRoot: Uint8Array;
}

const ISSUER = 'https://kallio.example';
const FILES: FileManifest = { version: 'kallio-file-manifest-v1', files: [] };

/** Build hosts of a fleet: each signs with a key of its own. */
const BUILDERS = 4;

/** What the images of a fleet have in common. */
interface Fleet {
  readonly signers: readonly Keys[];
  readonly results: KeyObject;
  readonly origin: string;
  readonly logKey: Keys;
  readonly log: LogWriter;
  readonly policy: ImagePolicy;
}

/** Makes so many, no two alike, by a few builders under one policy; their log in `directory`. */
export async function makeSigned(directory: string, count: number): Promise<readonly Signed[]> {
  const [logKey, results] = [p256(), p256()];
  const origin = logOrigin('log.example', logKey.spki);
  const log = await LogWriter.open(directory, {
    origin,
    keys: { p256: logKey.key, ed25519: generateKeyPairSync('ed25519').privateKey },
    now: () => new Date(),
  });
  // Proofs as in a log that is in use: ten hashes and more.
  await Promise.all(Array.from({ length: 1500 }, (_, i) => log.add(utf8(`{"entry":${i}}`))));
  const jwk = { ...createPublicKey(results.key).export({ format: 'jwk' }), kid: 'results', alg: 'ES256' };
  const fleet: Fleet = {
    signers: Array.from({ length: BUILDERS }, p256),
    results: results.key,
    origin,
    logKey,
    log,
    policy: {
      policy: 'kallio-image-policy-v1',
      issuer: ISSUER,
      jwks: { keys: [jwk] },
      logs: [{ origin, publicKey: toBase64(logKey.spki) }],
      builders: Array.from({ length: BUILDERS }, (_, i) => builderName(i)),
      tiers: ['A', 'B'],
      platform: 'linux/amd64',
    },
  };
  const made: Signed[] = [];
  // One after another, as images are built: each under a head of its own.
  for (let i = 0; i < count; i++) made.push(await signOne(fleet, i));
  await log.close();
  return made;
}

const builderName = (index: number) => `build-${index + 1}`;

async function signOne({ signers, results, origin, logKey, log, policy }: Fleet, i: number): Promise<Signed> {
  const image = makeImage(i);
  const signer = signers[i % signers.length] ?? p256();
  const claims: Claims = {
    subject: { name: 'registry.example/app', digest: image.digest },
    image: configClaims(JSON.parse(Buffer.from(image.config).toString())),
    fileManifest: { digest: fileManifestDigest(FILES), files: 0 },
  };
  const session: SessionClaims = {
    session: `session-${String(i).padStart(4, '0')}`,
    subject: image.digest,
    statement: statementDigest(claims),
    signingKey: keyDigest(signer.spki),
    evidence: [digestOf(utf8(`opening ${i}`)), digestOf(utf8(`closing ${i}`))],
    builder: builderName(i % signers.length),
    tier: 'B',
    boot: 7,
  };
  const blob = toBase64(utf8('a TPM structure'));
  const payload = buildStatement(claims, {
    session: session.session,
    builder: session.builder,
    tier: session.tier,
    boot: session.boot,
    ear: earOf(session, results),
    akCertification: { ak: blob, key: blob, certification: { attest: blob, signature: blob } },
    evidence: [...session.evidence],
  });
  const signature = new Uint8Array(sign('sha256', pae(PAYLOAD_TYPE, payload), signer.key));
  const envelope = makeEnvelope(payload, signature);
  const entry = await log.add(rekorDsseBody(envelope, signer.spki));
  return {
    ...image,
    fileManifest: fileManifestBytes(FILES),
    bundle: makeBundle(envelope, signer.spki, entry),
    policy,
    spki: signer.spki,
    trustedRoot: makeTrustedRoot([{ publicKey: logKey.spki, origin, validFrom: new Date(0) }]),
  };
}

interface Keys {
  readonly key: KeyObject;
  readonly spki: Uint8Array;
}

function p256(): Keys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { key: privateKey, spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })) };
}

function makeImage(version: number) {
  // An empty tar archive: two blocks of zeros.
  const tar = new Uint8Array(1024);
  const layer = new Uint8Array(gzipSync(tar));
  const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] };
  const config = utf8(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Labels: { version: `1.${version}` } },
      rootfs,
    }),
  );
  const described = (mediaType: string, bytes: Uint8Array) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = utf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: described(MEDIA.config, config),
      layers: [described(`${MEDIA.layer}+gzip`, layer)],
    }),
  );
  return { blobs: [layer, config], config, manifest, digest: digestOf(manifest) };
}

function earOf(session: SessionClaims, key: KeyObject): string {
  return issueEar({
    issuer: ISSUER,
    attester: session.builder,
    appraisal: {
      authentic: true,
      platform: { state: 'VERIFIED', tier: session.tier, refusals: [], limits: [] },
      instances: new Map(),
      next: undefined,
      boot: { clock: 1n, resetCount: session.boot, restartCount: 0, safe: true, firmwareVersion: 1n },
      evidence: utf8(session.session),
      evidenceDigest: digestOf(utf8(session.session)),
      appraisedAt: new Date(),
    },
    policyId: 'build-hosts',
    issuedAt: new Date(),
    ttlSeconds: 600,
    key,
    keyId: 'results',
    session,
  });
}
