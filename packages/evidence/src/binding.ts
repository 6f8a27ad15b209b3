import {
  canonicalDigest,
  canonicalize,
  type Digest,
  digestOf,
  fromBase64,
  sha256OfText,
} from '@kallio/codec';
import type { EvidenceMessage, Purpose } from './message.ts';

/**
 * What a quote is bound to. The attester and the verifier each fill it in from what they know themselves; a field
 * that one of them can't know makes the two digests differ, and the evidence is refused.
 */
export interface Binding {
  readonly purpose: Purpose;
  readonly attester: string;
  /** The verifier's nonce, 32 bytes in hexadecimal. */
  readonly nonce: string;
  /** Digests of the parts of the message the quote travels with. */
  readonly parts: EvidenceParts;
  /** Purposes `session-open`, `session-attest` and `session-close`. */
  readonly session?: string;
  /** Purpose `session-close`: the image manifest. */
  readonly subject?: Digest;
  /** Purpose `session-close`: the claims to be signed. */
  readonly statement?: Digest;
  /** Purpose `session-close`: SHA-256 of the signing key's TPMT_PUBLIC. */
  readonly signingKey?: Digest;
  /** Purpose `transport-key`: SHA-256 of the TLS key's SPKI. */
  readonly tlsKey?: Digest;
}

/** Digests of an evidence message's parts; an absent part has no digest. */
export interface EvidenceParts {
  readonly eventLog?: Digest;
  readonly ima?: { readonly from: number; readonly digest: Digest; readonly more?: true };
  readonly instanceLog: Digest;
  readonly inventory: Digest;
}

/** Digests of those parts that are hashed as canonical JSON. */
export type PartDigests = Pick<EvidenceParts, 'instanceLog' | 'inventory'>;

/**
 * The parts' digests, over the bytes as they travel (logs) or their canonical JSON (instance log, inventory). The
 * latter two may be given by whoever has them: they are of this message then.
 */
export function partsOf(
  message: Pick<EvidenceMessage, 'eventLog' | 'ima' | 'instanceLog' | 'inventory'>,
  { instanceLog, inventory }: PartDigests = digestsOf(message),
): EvidenceParts {
  const { eventLog, ima } = message;
  return {
    ...(eventLog === undefined ? {} : { eventLog: digestOf(fromBase64(eventLog)) }),
    ...(ima === undefined
      ? {}
      : {
          ima: {
            from: ima.from,
            digest: digestOf(imaBytes(ima)),
            ...(ima.more === undefined ? {} : { more: ima.more }),
          },
        }),
    instanceLog,
    inventory,
  };
}

function digestsOf({
  instanceLog,
  inventory,
}: Pick<EvidenceMessage, 'instanceLog' | 'inventory'>): PartDigests {
  return { instanceLog: canonicalDigest(instanceLog), inventory: canonicalDigest(inventory) };
}

const decoded = new WeakMap<object, { readonly entries: string; readonly bytes: Uint8Array }>();

/** An IMA part as it travels, or with its entries as a file holds them. */
export type ShownIma = Omit<NonNullable<EvidenceMessage['ima']>, 'entries'> & {
  readonly entries: string | Uint8Array;
};

/** The bytes of an IMA part. Decoded once for each part, for it is both hashed and judged, and may have 16 MiB. */
export function imaBytes(part: ShownIma): Uint8Array {
  const { entries } = part;
  if (typeof entries !== 'string') return entries;
  const known = decoded.get(part);
  if (known?.entries === entries) return known.bytes;
  const bytes = fromBase64(entries);
  decoded.set(part, { entries, bytes });
  return bytes;
}

const LABEL = 'kallio-evidence-v1\0';

/** The 32 bytes that go into the quote as qualifyingData: SHA-256("kallio-evidence-v1" || 0x00 || JCS(binding)). */
export function qualifyingData(binding: Binding): Uint8Array {
  return sha256OfText(LABEL + canonicalize(binding));
}
