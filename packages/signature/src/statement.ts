import {
  Base64,
  canonicalBytes,
  canonicalDigest,
  canonicalize,
  type Digest,
  DigestSchema,
  decodeShape,
  Exact,
  fromUtf8,
  Hex,
  isDigest,
  type Json,
  KallioError,
  parseDigest,
  parseJson,
  readShape,
} from '@kallio/codec';
import { Attestation, AttesterId } from '@kallio/evidence';
import type { ImageConfigClaims, ImageIndexClaims } from '@kallio/oci';
import { type Static, Type } from 'typebox';
import { signatureError } from './error.ts';
import { membersOf } from './members.ts';

/** `_type` of the only statements made and read here. */
export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
/** `predicateType` of an image signature. */
export const PREDICATE_TYPE = 'https://kallio.dev/image-signature/v1';

/** Largest statement, in bytes. */
const MAX_STATEMENT = 1024 * 1024;

/** Platform tiers: A measured boot and verified root, B measured boot and IMA, C neither. */
export const Tier = Type.Union([Type.Literal('A'), Type.Literal('B'), Type.Literal('C')]);
export type Tier = Static<typeof Tier>;

/** What the builder knows of an image before its session closes. The closing quote commits to exactly this. */
export interface Claims {
  readonly subject: {
    /** Registry and repository. For people; nothing is decided by it. */
    readonly name: string;
    /** Digest of the image manifest, or of an image index. */
    readonly digest: Digest;
  };
  /** The image's configuration; of an index, the images that it names. */
  readonly image: ImageConfigClaims | ImageIndexClaims;
  readonly fileManifest: {
    /** SHA-256 of the file manifest's canonical JSON. */
    readonly digest: Digest;
    /** How many regular files it lists. An index has none. */
    readonly files: number;
  };
}

/** What the attestation session adds: who built, on what evidence, and the verifier's signed result. */
export const BuildEnvironment = Exact({
  session: Type.String({ pattern: '^[A-Za-z0-9_-]{8,64}$' }),
  builder: AttesterId,
  tier: Tier,
  /** TPM resetCount of the boot that the whole session ran in. */
  boot: Type.Integer({ minimum: 0 }),
  /** Secure boot was on, with the keys that the appraisal policy names. */
  secureBoot: Type.Optional(Type.Literal(true)),
  /** Attestation result of the closed session: a compact JWT. */
  ear: Type.String({ maxLength: 64 * 1024, pattern: '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$' }),
  /** TPM2_Certify of the signing key by the AK: for whoever re-verifies the evidence. */
  akCertification: Exact({
    /** TPMT_PUBLIC of the AK. */
    ak: Base64(1024),
    /** TPMT_PUBLIC of the signing key. */
    key: Base64(1024),
    certification: Attestation,
  }),
  /** Digests of the evidence messages, opening first. They travel beside the image, not in the statement. */
  evidence: Type.Array(DigestSchema, { minItems: 2, maxItems: 64 }),
});
export type BuildEnvironment = Static<typeof BuildEnvironment>;

/** What the statement says of the file manifest. */
export const FileManifestClaim = Exact({
  digest: DigestSchema,
  files: Type.Integer({ minimum: 0 }),
});

const Statement = Exact({
  _type: Type.Literal(STATEMENT_TYPE),
  subject: Type.Tuple([
    Exact({ name: Type.String({ minLength: 1, maxLength: 512 }), digest: Exact({ sha256: Hex(32) }) }),
  ]),
  predicateType: Type.Literal(PREDICATE_TYPE),
  predicate: Exact({
    /** Compared, whole, with what the image's own configuration says: it needs no shape of its own here. */
    image: Type.Record(Type.String(), Type.Unknown()),
    fileManifest: FileManifestClaim,
    buildEnvironment: BuildEnvironment,
  }),
});

/** A statement that has its shape; nothing in it is believed yet. */
export interface ParsedStatement {
  readonly subject: Claims['subject'];
  readonly image: Readonly<Record<string, unknown>>;
  readonly fileManifest: Claims['fileManifest'];
  readonly buildEnvironment: BuildEnvironment;
}

/** SHA-256 of the claims' canonical JSON: `statement` in the closing quote's binding and in the session's result. */
export function statementDigest(claims: Claims | Omit<ParsedStatement, 'buildEnvironment'>): Digest {
  const { subject, image, fileManifest } = claims;
  return canonicalDigest({ subject, image, fileManifest });
}

/** The statement: in-toto Statement v1, canonical JSON. These bytes are the DSSE payload. */
export function buildStatement(claims: Claims, buildEnvironment: BuildEnvironment): Uint8Array {
  const { subject, image, fileManifest } = claims;
  return canonicalBytes({
    _type: STATEMENT_TYPE,
    subject: [{ name: subject.name, digest: { sha256: subject.digest.slice('sha256:'.length) } }],
    predicateType: PREDICATE_TYPE,
    predicate: { image, fileManifest, buildEnvironment },
  });
}

/** What one can say of a statement before its predicate is read: whose statement it is, and about what. */
export interface StatementHead {
  readonly subject: Claims['subject'];
  /** Its shape is checked where it is the whole, and to be checked where it is only a document. */
  readonly rest: { readonly whole: Static<typeof Statement> } | { readonly document: Json };
}

/**
 * Reads type and subject. The bytes must be canonical JSON: then one statement has one text, and what two readers
 * might read differently (a key twice, an escaped name) is refused with everything else that isn't canonical.
 */
export function parseStatementHead(payload: Uint8Array): StatementHead {
  if (payload.length > MAX_STATEMENT) {
    throw new KallioError('JSON_TOO_LARGE', `A statement has at most ${MAX_STATEMENT} bytes.`);
  }
  // Canonical and of the whole shape: then there is nothing to refuse below.
  const whole = readShape(Statement, payload);
  if (whole !== undefined) {
    const [{ name, digest }] = whole.subject;
    return { subject: { name, digest: `sha256:${digest.sha256}` }, rest: { whole } };
  }
  const text = fromUtf8(payload);
  const document = parseJson(text, { maxBytes: MAX_STATEMENT, maxDepth: 24 });
  if (canonicalize(document) !== text) {
    throw signatureError('STATEMENT_NOT_CANONICAL', 'The statement is not canonical JSON (RFC 8785).');
  }
  const members = membersOf(document);
  // An attestation of another kind by the same key must not be read as an image signature.
  if (members.get('_type') !== STATEMENT_TYPE) {
    throw signatureError('STATEMENT_TYPE', 'This is no in-toto Statement v1.', { pointer: '/_type' });
  }
  if (members.get('predicateType') !== PREDICATE_TYPE) {
    throw signatureError('STATEMENT_PREDICATE_TYPE', 'This statement is no image signature.', {
      pointer: '/predicateType',
    });
  }
  return { subject: subjectOf(members.get('subject')), rest: { document } };
}

/** Reads the rest. */
export function parseStatement({ subject, rest }: StatementHead): ParsedStatement {
  const { predicate } =
    'whole' in rest ? rest.whole : decodeShape(Statement, rest.document, 'STATEMENT_SHAPE', 'The statement');
  const fileManifest = { ...predicate.fileManifest, digest: parseDigest(predicate.fileManifest.digest) };
  return { subject, image: predicate.image, fileManifest, buildEnvironment: predicate.buildEnvironment };
}

/** One subject, one digest: with more, "signed" would not say what was signed. */
function subjectOf(value: Json | undefined): Claims['subject'] {
  const [only, ...more] = Array.isArray(value) ? value : [];
  if (only === undefined || more.length > 0) {
    throw signatureError('STATEMENT_SUBJECT_COUNT', 'The statement must have exactly one subject.', {
      pointer: '/subject',
    });
  }
  const members = membersOf(only);
  const name = members.get('name');
  const digests = membersOf(members.get('digest'));
  // Attack: a digest that is no text, which can't be made one either: an end that no verdict would say.
  const sha256 = digests.get('sha256');
  const digest = typeof sha256 === 'string' ? `sha256:${sha256}` : '';
  if (typeof name !== 'string' || digests.size !== 1 || !isDigest(digest)) {
    throw signatureError(
      'STATEMENT_SUBJECT_DIGEST',
      'The subject must have a name and one digest, SHA-256 in lower-case hexadecimal.',
      { pointer: '/subject/0/digest' },
    );
  }
  return { name, digest };
}
