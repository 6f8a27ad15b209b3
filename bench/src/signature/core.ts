import { verifyImageSignature } from '@kallio/signature';
import { bundleFromJSON } from '@sigstore/bundle';
import { PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { median, type Row } from '../row.ts';
import type { Signed } from './signed.ts';

const BATCH = 50;
const ROUNDS = 30;

/** The verification core, warm, beside @sigstore/verify: both from the bundle's bytes to the verdict. */
export async function measureCore(signed: Signed): Promise<Row[]> {
  const { bundle, digest, config, policy } = signed;
  const now = new Date();
  const ours = async () => {
    const verdict = await verifyImageSignature({
      bundle,
      manifestDigest: digest,
      configBytes: config,
      policy,
      now,
    });
    if (!verdict.ok) throw new Error(verdict.refusal.code);
  };
  const peer = peerVerifier(signed);
  const times = await inTurns([ours, peer]);
  const [figure = Number.NaN, besideFigure = Number.NaN] = times;
  const ratio = figure / besideFigure;
  const name = 'verify a bundle, warm (signature, log proof, and the session’s result as well)';
  const beside = '@sigstore/verify (signature and log proof)';
  return [
    { name, figure, unit: 'ms', beside, besideFigure, ratio, bar: 'ratio <= 1', holds: ratio <= 1 },
    {
      name,
      figure,
      unit: 'ms',
      beside: 'the bar',
      besideFigure: 0.5,
      ratio: figure / 0.5,
      bar: '<= 0.5 ms',
      holds: figure <= 0.5,
    },
  ];
}

function peerVerifier({ bundle, spki, trustedRoot }: Signed): () => Promise<void> {
  const root = TrustedRoot.fromJSON(JSON.parse(Buffer.from(trustedRoot).toString()));
  const publicKey = {
    rawBytes: Buffer.from(spki),
    keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
    validFor: { start: new Date(0) },
  };
  const text = Buffer.from(bundle).toString();
  const hint = JSON.parse(text).verificationMaterial.publicKey.hint as string;
  const material = toTrustMaterial(root, { [hint]: publicKey });
  const verifier = new Verifier(material, { tlogThreshold: 1, timestampThreshold: 1 });
  return async () => {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(text))));
  };
}

/** Batches of each, turn by turn; the median time of one call of each, in milliseconds. */
async function inTurns(contestants: readonly (() => Promise<void>)[]): Promise<number[]> {
  const times: number[][] = contestants.map(() => []);
  for (let round = -5; round < ROUNDS; round++) {
    // Each goes first every other time: what comes second finds caches warm.
    const order = [...contestants.keys()];
    if (round % 2 === 0) order.reverse();
    for (const contestant of order) {
      const started = performance.now();
      for (let i = 0; i < BATCH; i++) await contestants[contestant]?.();
      // The first rounds are for the compiler.
      if (round >= 0) times[contestant]?.push((performance.now() - started) / BATCH);
    }
  }
  return times.map(median);
}
