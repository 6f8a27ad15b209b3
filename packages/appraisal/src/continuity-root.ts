import { canonicalDigest, canonicalize, type Digest, digestOfText } from '@kallio/codec';
import type { Continuity } from './continuity.ts';

/** What is kept of an attester, as something small with the digests of its larger parts in it. */
export interface ContinuityRoot {
  /** SHA-256 of `text`: what this continuity is known by. */
  readonly digest: Digest;
  /** JCS of the continuity, with each part replaced by the SHA-256 of its JCS. */
  readonly text: string;
  readonly parts: readonly { readonly name: string; readonly digest: Digest; readonly value: object }[];
}

const digests = new WeakMap<object, Digest>();

/** Parts that did not change are the same objects from one evidence to the next, and not hashed again. */
export function continuityRoot({ boot, ...rest }: Continuity): ContinuityRoot {
  const { eventLog, ima, instanceLog, inventory, ...others } = rest;
  const parts = Object.entries({ eventLog, ima, instanceLog, inventory }).flatMap(([name, value]) =>
    value === undefined ? [] : [{ name, digest: partDigest(value), value }],
  );
  const text = canonicalize({
    version: 'kallio-continuity-v1',
    ...others,
    boot: { ...boot, clock: String(boot.clock), firmwareVersion: String(boot.firmwareVersion) },
    ...Object.fromEntries(parts.map(({ name, digest }) => [name, digest])),
  });
  return { digest: digestOfText(text), text, parts };
}

function partDigest(part: object): Digest {
  let digest = digests.get(part);
  if (digest === undefined) {
    digest = canonicalDigest(part);
    digests.set(part, digest);
  }
  return digest;
}
