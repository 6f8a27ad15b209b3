import {
  type Appraisal,
  AppraisalPolicy,
  appraise,
  type Continuity,
  continuityFromJson,
  continuityRoot,
  type EarClaims,
  earPayload,
  type ImageReference,
  namedSets,
  type ReferenceSets,
  verifyEar,
} from '@kallio/appraisal';
import {
  canonicalDigest,
  canonicalize,
  decodeShape,
  fromBase64,
  fromBase64Url,
  isDigest,
  parseDigest,
  parseJson,
} from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { parseFileManifest } from '@kallio/oci';
import type { AppraisalBasis, Reply, resultMaterial, TrustBundle } from '@kallio/protocol';
import { cliError } from '../output/output.ts';

export type Material = Reply<typeof resultMaterial>;

/** A result, and the same made again here from what it was made from. */
export interface Derived {
  readonly claims: EarClaims;
  readonly message: EvidenceMessage;
  readonly policy: AppraisalPolicy;
  readonly previous: Continuity | undefined;
  readonly basis: AppraisalBasis;
  readonly appraisal: Appraisal;
  /** Where the claims made here differ from the signed ones, as JSON pointers; none when they are the same bytes. */
  readonly differences: readonly string[];
}

/**
 * Judges the evidence of a result again, here, and compares the claims with the signed ones. The server is believed in
 * nothing but its signature: every document is checked against the digest that stands under that signature, or in the
 * record. Throws where a document is not the one that was named.
 */
export async function derive(material: Material, trust: TrustBundle, sets: ReferenceSets): Promise<Derived> {
  const { ear, record } = material;
  const { basis } = record;
  if (basis === undefined) throw unusable('its record names nothing that it was made from', '/record/basis');
  const now = new Date(basis.appraisedAt);
  const claims = await verifyEar(ear, trust, now);
  const message = decodeShape(EvidenceMessage, material.evidence, 'REPLY_INVALID', 'The evidence');
  // Stops other evidence from being explained than the one that was judged.
  requireDigest(message, claims.platform.evidence, 'the evidence', '/evidence');
  requireDigest(material.policy, basis.policy, 'the policy', '/policy');
  const policy = decodeShape(AppraisalPolicy, material.policy, 'REPLY_INVALID', 'The policy');
  requireSets(policy, sets);
  const previous =
    basis.previous === undefined ? undefined : continuityFromJson(canonicalize(material.previous ?? null));
  if (previous !== undefined && continuityRoot(previous).digest !== basis.previous)
    throw unusable('what was kept before has not the digest that it rests on', '/previous');
  const { nonce, session, subject, statement, signingKey, tlsKey } = basis.expected;
  const appraisal = appraise({
    message,
    expected: {
      purpose: record.purpose,
      attester: record.attester,
      nonce,
      ...(session === undefined ? {} : { session }),
      ...(subject === undefined ? {} : { subject: parseDigest(subject) }),
      ...(statement === undefined ? {} : { statement: parseDigest(statement) }),
      ...(signingKey === undefined ? {} : { signingKey: parseDigest(signingKey) }),
      ...(tlsKey === undefined ? {} : { tlsKey: parseDigest(tlsKey) }),
    },
    akPublic: fromBase64(basis.ak),
    endorsement: basis.endorsement,
    ...(previous === undefined ? {} : { previous }),
    policy,
    sets,
    images: imagesOf(material, basis),
    now,
  });
  const made = earPayload({
    issuer: claims.issuer,
    attester: claims.attester,
    appraisal,
    policyId: policy.id,
    issuedAt: now,
    ttlSeconds: (claims.expiresAt.getTime() - claims.issuedAt.getTime()) / 1000,
    ...(claims.session === undefined ? {} : { session: claims.session }),
  });
  const signed = fromBase64Url(ear.split('.')[1] ?? '');
  const limits = { maxBytes: 1024 * 1024 };
  return {
    claims,
    message,
    policy,
    previous,
    basis,
    appraisal,
    differences: differences(parseJson(signed, limits), parseJson(made, limits)),
  };
}

/** Without a set that its policy names, another result would come out here, and the server would seem to be wrong. */
function requireSets(policy: AppraisalPolicy, sets: ReferenceSets): void {
  const missing = namedSets(policy).find(({ digest }) => !sets.has(parseDigest(digest)));
  if (missing === undefined) return;
  throw cliError(
    'EXPLAIN_REFERENCE_SET',
    `The policy ${policy.id} names the reference set ${missing.name}, ${missing.digest}, and the result can’t be made again without it.`,
    'Bring its file, and each other that the policy names: --reference-set FILE',
  );
}

function imagesOf({ images }: Material, basis: AppraisalBasis) {
  const references = new Map<string, ImageReference>();
  for (const [image, digest] of Object.entries(basis.images)) {
    requireDigest(images[image], digest, `the file manifest of ${image}`, `/images/${image}`);
    const { files } = parseFileManifest(new TextEncoder().encode(canonicalize(images[image])));
    references.set(image, { files: new Map(files.map(({ path, sha256 }) => [path, sha256])) });
  }
  return (image: string) => references.get(image);
}

function requireDigest(document: unknown, digest: string, what: string, pointer: string): void {
  if (document !== undefined && isDigest(digest) && canonicalDigest(document) === digest) return;
  throw unusable(`${what} that came with it has not the digest that it rests on`, pointer);
}

function unusable(why: string, pointer: string) {
  const hint = 'The server’s store was changed, or the server does not tell the truth.';
  return cliError('EXPLAIN_MATERIAL', `This result can’t be made again: ${why} (${pointer}).`, hint);
}

/** Places at which two documents differ; at most so many. */
function differences(signed: unknown, made: unknown, at = '', found: string[] = []): string[] {
  if (found.length >= 16 || canonicalize(signed ?? null) === canonicalize(made ?? null)) return found;
  if (!isObject(signed) || !isObject(made)) found.push(at === '' ? '/' : at);
  else {
    for (const name of new Set([...Object.keys(signed), ...Object.keys(made)])) {
      const token = name.replaceAll('~', '~0').replaceAll('/', '~1');
      differences(signed[name], made[name], `${at}/${token}`, found);
    }
  }
  return found;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
