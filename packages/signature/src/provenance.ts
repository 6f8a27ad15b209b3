import { canonicalBytes, decodeShape, Exact, equalBytes, Hex, parseJson } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { Type } from 'typebox';
import { signatureError } from './error.ts';
import { membersOf } from './members.ts';
import { type Claims, STATEMENT_TYPE } from './statement.ts';

/** `predicateType` of SLSA provenance v1 (slsa.dev/spec/v1.0/provenance). */
export const PROVENANCE_TYPE = 'https://slsa.dev/provenance/v1';
/** What kind of build it was: an ordinary builder inside an attestation session. docs/formats.md explains the fields. */
const BUILD_TYPE = 'https://kallio.dev/attested-build/v1';

const Digests = Exact({ sha256: Hex(32) });
const Provenance = Exact({
  _type: Type.Literal(STATEMENT_TYPE),
  subject: Type.Tuple([Exact({ name: Type.String({ minLength: 1, maxLength: 512 }), digest: Digests })]),
  predicateType: Type.Literal(PROVENANCE_TYPE),
  predicate: Exact({
    buildDefinition: Exact({
      buildType: Type.Literal(BUILD_TYPE),
      externalParameters: Exact({ image: Type.String({ minLength: 1, maxLength: 512 }) }),
      internalParameters: Exact({ builder: AttesterId }),
    }),
    runDetails: Exact({
      builder: Exact({ id: Type.String({ minLength: 1, maxLength: 512 }) }),
      metadata: Exact({
        invocationId: Type.String({ pattern: '^[A-Za-z0-9_-]{8,64}$' }),
        startedOn: Type.String({ maxLength: 32 }),
        finishedOn: Type.String({ maxLength: 32 }),
      }),
      /** The evidence messages, opening first. */
      byproducts: Type.Array(Exact({ name: Type.String({ maxLength: 64 }), digest: Digests }), {
        maxItems: 64,
      }),
    }),
  }),
});

/** What provenance says beside the claims: the attestation session, as its server recorded it. */
export interface BuildRun {
  /** The attestation server, as its results name it. */
  readonly issuer: string;
  readonly builder: string;
  readonly session: string;
  readonly startedOn: string;
  readonly finishedOn: string;
  readonly evidence: readonly string[];
}

/**
 * SLSA provenance v1 for policy engines that know only that: canonical JSON, the payload of a second envelope by the
 * same key. It repeats what the image signature says and proves nothing more.
 */
export function buildProvenance({ subject }: Claims, run: BuildRun): Uint8Array {
  const hex = (digest: string) => ({ sha256: digest.slice('sha256:'.length) });
  return canonicalBytes({
    _type: STATEMENT_TYPE,
    subject: [{ name: subject.name, digest: hex(subject.digest) }],
    predicateType: PROVENANCE_TYPE,
    predicate: {
      buildDefinition: {
        buildType: BUILD_TYPE,
        externalParameters: { image: subject.name },
        internalParameters: { builder: run.builder },
      },
      runDetails: {
        builder: { id: `${run.issuer}/builders/${run.builder}` },
        metadata: {
          invocationId: run.session,
          startedOn: run.startedOn,
          finishedOn: run.finishedOn,
        },
        byproducts: run.evidence.map((digest, i) => ({ name: `evidence-${i + 1}`, digest: hex(digest) })),
      },
    },
  });
}

/** Is this a provenance statement? Then it must be one as {@link buildProvenance} makes it: `STATEMENT_…`. */
export function isProvenance(payload: Uint8Array): boolean {
  const document = parseJson(payload);
  if (membersOf(document).get('predicateType') !== PROVENANCE_TYPE) return false;
  if (!equalBytes(canonicalBytes(document), payload)) {
    throw signatureError('STATEMENT_NOT_CANONICAL', 'The statement is not canonical JSON (RFC 8785).');
  }
  decodeShape(Provenance, document, 'STATEMENT_SHAPE', 'The provenance');
  return true;
}
