import { keyHint, verifyBundleWithKey, verifyImageSignature } from '@kallio/signature';
import { bundleFromJSON } from '@sigstore/bundle';
import { PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
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
 * The verification core, warm, beside @sigstore/verify: from the bundle's bytes to the verdict. With a key one trusts it does
 * what the peer does; of an image it verifies the session's signed result and all claims as well.
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
  const times = await inTurns([image, withKey, peerVerifier(fleet)], fleet);
  const [whole = Number.NaN, same = Number.NaN, peer = Number.NaN] = times;
  const wholeName =
    'verify an image’s bundle, warm (signature, log proof, and the session’s result and claims as well)';
  const beside = '@sigstore/verify (signature and log proof)';
  return [
    atMost('verify a bundle with a key, warm (signature and log proof)', same, beside, peer, 'ratio <= 1'),
    atMost(wholeName, whole, beside, peer, 'ratio <= 1'),
    atMost(wholeName, whole, 'the bar', 0.5, '<= 0.5 ms'),
  ];
}

function atMost(name: string, figure: number, beside: string, besideFigure: number, bar: string): Row {
  const ratio = figure / besideFigure;
  return { name, figure, unit: 'ms', beside, besideFigure, ratio, bar, holds: ratio <= 1 };
}

function peerVerifier(fleet: readonly Signed[]): (signed: Signed) => Promise<void> {
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
  return async ({ bundle }) => {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(Buffer.from(bundle).toString()))));
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
