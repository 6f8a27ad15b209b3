import { keyHint, verifyBundleWithKey, verifyImageSignature } from '@kallio/signature';
import { bundleFromJSON, type bundleToJSON } from '@sigstore/bundle';
import { PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { importJWK, jwtVerify } from 'jose';
import { median, type Row } from '../row.ts';
import type { Signed } from './signed.ts';

const BATCH = 25;
const ROUNDS = 30;
/**
 * The first rounds are for the compiler, which is done with the last of what runs only after a thousand bundles. An agent
 * verifies for months.
 */
const WARMING = 60;

/** How many bundles are verified, each by all and by each once: nothing that is kept of one decides about another. */
export const BUNDLES = BATCH * (WARMING + ROUNDS);

/**
 * The verification core, warm, from the bundle's bytes to the verdict. With a key one trusts it does what @sigstore/verify
 * does, and stands beside that. Of an image it verifies a signature more, that of the session's result, and compares all
 * claims: it stands beside who would have jose verify that result as well.
 */
export async function measureCore(fleet: readonly Signed[]): Promise<Row[]> {
  const now = new Date();
  const image = async ({ bundle, digest, config, policy }: Signed) => {
    const verdict = await verifyImageSignature({
      bundle,
      manifestDigest: digest,
      configBytes: config,
      policy,
      now,
    });
    if (!verdict.ok) throw new Error(verdict.refusal.code);
  };
  const withKey = async ({ bundle, spki, trustedRoot, digest }: Signed) => {
    verifyBundleWithKey({ bundle, publicKey: spki, trustedRoot, artifact: digest });
  };
  const verifyBundle = bundleVerifier(fleet);
  const verifyResult = await resultVerifier(fleet);
  const peer = async ({ bundle }: Signed) => verifyBundle(parsed(bundle));
  const peers = async ({ bundle }: Signed) => {
    const document = parsed(bundle);
    verifyBundle(document);
    await verifyResult(document);
  };
  const times = await inTurns([image, withKey, peer, peers], fleet);
  const [whole = Number.NaN, same = Number.NaN, one = Number.NaN, both = Number.NaN] = times;
  const sameName = 'verify a bundle with a key, warm (signature and log proof)';
  const wholeName =
    'verify an image’s bundle, warm (signature, log proof, the session’s result, all claims and the policy)';
  return [
    atMost(sameName, same, '@sigstore/verify (signature and log proof)', one, 'ratio <= 1'),
    atMost(sameName, same, 'the bar', 0.5, '<= 0.5 ms'),
    atMost(wholeName, whole, '@sigstore/verify, and jose for the session’s result', both, 'ratio <= 1'),
    atMost(wholeName, whole, 'the bar', 0.5, '<= 0.5 ms'),
  ];
}

function atMost(name: string, figure: number, beside: string, besideFigure: number, bar: string): Row {
  const ratio = figure / besideFigure;
  return { name, figure, unit: 'ms', beside, besideFigure, ratio, bar, holds: ratio <= 1 };
}

/** A bundle as its maker's library reads it. */
type Document = ReturnType<typeof bundleToJSON>;

function parsed(bundle: Uint8Array): Document {
  return JSON.parse(Buffer.from(bundle).toString());
}

function bundleVerifier(fleet: readonly Signed[]): (bundle: Document) => void {
  const root = TrustedRoot.fromJSON(JSON.parse(Buffer.from(fleet[0]?.trustedRoot ?? []).toString()));
  const keys = fleet.map(({ spki }) => [
    keyHint(spki),
    {
      rawBytes: Buffer.from(spki),
      keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
      validFor: { start: new Date(0) },
    },
  ]);
  const material = toTrustMaterial(root, Object.fromEntries(keys));
  const verifier = new Verifier(material, { tlogThreshold: 1, timestampThreshold: 1 });
  return (bundle) => {
    verifier.verify(toSignedEntity(bundleFromJSON(bundle)));
  };
}

/** jose on the result that is in the statement: its signature, issuer, type and times, as valid when it was logged. */
async function resultVerifier(fleet: readonly Signed[]): Promise<(bundle: Document) => Promise<void>> {
  const [jwk] = fleet[0]?.policy.jwks.keys ?? [];
  const key = await importJWK({ ...jwk }, 'ES256');
  const issuer = fleet[0]?.policy.issuer ?? '';
  return async ({ dsseEnvelope, verificationMaterial }) => {
    const { predicate } = JSON.parse(Buffer.from(dsseEnvelope?.payload ?? '', 'base64').toString());
    const currentDate = new Date(Number(verificationMaterial?.tlogEntries[0]?.integratedTime) * 1000);
    await jwtVerify(predicate.buildEnvironment.ear, key, {
      issuer,
      currentDate,
      algorithms: ['ES256'],
      typ: 'application/eat+jwt',
      clockTolerance: 60,
    });
  };
}

/** Batches of each, turn by turn; the median time of one call of each, in milliseconds. */
async function inTurns(
  contestants: readonly ((signed: Signed) => Promise<void>)[],
  fleet: readonly Signed[],
): Promise<number[]> {
  const times: number[][] = contestants.map(() => []);
  for (let round = 0; round < WARMING + ROUNDS; round++) {
    const batch = fleet.slice(round * BATCH, (round + 1) * BATCH);
    // Each comes after each other as often: what comes second finds caches warm.
    const order = [...contestants.keys()];
    if (round % 2 === 0) order.reverse();
    order.push(...order.splice(0, round % order.length));
    for (const contestant of order) {
      const started = performance.now();
      for (const signed of batch) await contestants[contestant]?.(signed);
      if (round >= WARMING) times[contestant]?.push((performance.now() - started) / batch.length);
    }
  }
  return times.map(median);
}
