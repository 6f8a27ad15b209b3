import { canonicalBytes, fromHex, toBase64 } from '@kallio/codec';
import { logHost, logIdOf } from '@kallio/tlog';

/** A log as other people's clients are told of it. */
export interface LogForOthers {
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  /** `host - digits`. Clients match the host with the trusted root's `baseUrl`, so that is made from it. */
  readonly origin: string;
  readonly validFrom: Date;
}

/** A Sigstore trusted root that trusts these logs and nothing else: for `cosign --trusted-root` and its like. */
export function makeTrustedRoot(logs: readonly LogForOthers[]): Uint8Array {
  return canonicalBytes({
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: logs.map(({ publicKey, origin, validFrom }) => ({
      baseUrl: `https://${logHost(origin)}`,
      hashAlgorithm: 'SHA2_256',
      publicKey: {
        rawBytes: toBase64(publicKey),
        keyDetails: 'PKIX_ECDSA_P256_SHA_256',
        validFor: { start: validFrom.toISOString() },
      },
      logId: { keyId: toBase64(fromHex(logIdOf(publicKey))) },
    })),
  });
}
