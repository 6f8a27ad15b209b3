import { earClaims, type SessionClaims } from '@kallio/appraisal';
import {
  borrowBase64,
  type Digest,
  fromUtf8,
  type HoldsEcdsa,
  holdsEcdsa,
  KallioError,
  parseDigest,
  parseJson,
  sameJson,
} from '@kallio/codec';
import { configClaims, indexClaims, platformName, runsOn } from '@kallio/oci';
import { type LogEntry, rekorDsseText, verifyLogEntry } from '@kallio/tlog';
import { type ParsedBundle, parseBundle } from './bundle.ts';
import { verifyEnvelope } from './dsse.ts';
import { signatureError } from './error.ts';
import { type SigningKey, signingKeyOfVerifier } from './key.ts';
import { compiledPolicy } from './policy/compile.ts';
import { requirePolicy } from './policy/judge.ts';
import { requireClaims } from './policy/require.ts';
import { requireNotRevoked } from './policy/revocations.ts';
import type { ImagePolicy } from './policy/schema.ts';
import { requireWitnessed } from './policy/witnesses.ts';
import { PutOff } from './put-off.ts';
import {
  type Claims,
  type ParsedStatement,
  parseStatement,
  parseStatementHead,
  type StatementHead,
  statementDigest,
} from './statement.ts';
import { type ImageVerdict, Trail } from './verdict.ts';

/** What an image signature is judged by. */
export type SignatureInput = (OfImage | OfIndex) & {
  /** The Sigstore bundle. From the registry: nothing in it is believed. */
  readonly bundle: Uint8Array;
  /** Digest of the image manifest that is to run, or of the index that names it. */
  readonly manifestDigest: Digest;
  readonly policy: ImagePolicy;
  readonly now: Date;
  /** C2SP tlog-proofs of the signature's log entry: looked at where the policy names witnesses. */
  readonly proofs?: readonly Uint8Array[];
};

interface OfImage {
  /** The image configuration that this manifest names. The caller has checked its digest. */
  readonly configBytes: Uint8Array;
}

interface OfIndex {
  /** The index itself. The caller has checked its digest. */
  readonly index: { readonly bytes: Uint8Array; readonly mediaType: string };
}

/**
 * Judges an image signature. Pure: no I/O, no clock. Never throws for what the bundle holds: the verdict says which
 * step refused it, and why. The order is from the cheap and unforgeable to the costly; nothing the bundle says is
 * told on before the step that proves it. Signatures are taken to hold first, and verified together once all else has
 * been looked at: where one does not hold, all is looked at again, each in its step.
 */
export async function verifyImageSignature(input: SignatureInput): Promise<ImageVerdict> {
  const putOff = new PutOff();
  const verdict = judge(input, putOff.holds);
  return putOff.allHold() ? verdict : judge(input, holdsEcdsa);
}

function judge(input: SignatureInput, holds: HoldsEcdsa): ImageVerdict {
  const trail = new Trail();
  try {
    return run(input, trail, holds);
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    const { payload } = trail;
    const shown = payload === undefined ? {} : { payload };
    return { ok: false, steps: trail.steps, refusal: error.toJSON(), ...shown };
  }
}

function run(input: SignatureInput, trail: Trail, holds: HoldsEcdsa): ImageVerdict {
  const { policy } = input;

  // Stops a document that two verifiers read differently: see parseBundle.
  const bundle = trail.step(
    'bundle',
    () => parseBundle(input.bundle),
    () => 'a Sigstore bundle v0.3 with one signature and one log entry',
  );
  trail.payload = bundle.payload;

  // Stops a signature that was moved here from another image.
  const head = trail.step(
    'subject',
    () => requireSubject(bundle.payload, input.manifestDigest),
    () => `the statement is about ${input.manifestDigest}`,
  );

  // Stops a bundle that shows one key to those who look keys up by hint and another to those who read the log entry.
  const { key, leaf, leafText } = trail.step(
    'key',
    () => keyOf(bundle),
    ({ key }) => `signing key ${key.digest}`,
  );

  // Stops a statement that the holder of the key did not sign.
  trail.step(
    'signature',
    () => verifyEnvelope(bundle.envelope, key, bundle.payload, holds),
    () => 'ECDSA P-256 over the statement',
  );

  // Stops a log entry of another signature: a proof that something is in the log is no proof that this is.
  trail.step(
    'log-leaf',
    () => requireLeaf(bundle, key, leafText),
    () => 'the log entry is of this envelope, signature and key',
  );

  // Stops a signature that only its maker has seen, and a log entry with a made-up time.
  trail.step(
    'log-proof',
    () => requireLogged(bundle.entry, policy, leaf, holds),
    (origin) => `entry ${bundle.entry.logIndex} of ${origin}, ${timeOf(bundle).toISOString()}`,
  );

  // Stops a claim that nobody checks: every field has its place, an unknown one is refused.
  const statement = trail.step(
    'statement',
    () => parseStatement(head),
    ({ fileManifest }) => `file manifest ${fileManifest.digest}, ${fileManifest.files} files`,
  );

  // Stops an image whose configuration is not what was signed, and a signed one for another platform.
  const image = trail.step(
    'image-config',
    () => requireImage(input, statement),
    (claims) =>
      'index' in claims
        ? `the index names the ${imagesIn(claims)} images that were signed`
        : 'the image’s configuration is the one signed',
  );

  // Stops a result of another issuer, and one that had lapsed when the signature was logged.
  const ear = trail.step(
    'result',
    () => earClaims(statement.buildEnvironment.ear, policy, timeOf(bundle), holds),
    () => `attestation result by ${policy.issuer}, valid when logged`,
  );

  // Stops a real result of a real session that was about something else.
  const session = trail.step(
    'session',
    () => requireSession(ear.session, statement, key),
    (claims) => `session ${claims.session}: evidence commits to image, statement and key`,
  );

  const logged = bundle.entry.integratedTime;
  trail.step(
    'policy',
    () => requirePolicy(policy, { session, ear, logged, now: input.now }),
    () => `builder ${session.builder}, tier ${session.tier}`,
  );

  const { subject, fileManifest } = statement;
  const claims = { subject, image, fileManifest };
  const { require, revoked, witnesses } = policy;
  // Stops an image that is genuine, and not of the kind that may run here.
  if (require !== undefined) {
    trail.step(
      'claims',
      () => requireClaims(require, claims, session),
      () => `what the policy wants the claims to say: ${Object.keys(require).join(', ')}`,
    );
  }
  // Stops what was good once: a builder that was broken into, a key that was stolen, an image with a hole.
  if (revoked !== undefined) {
    trail.step(
      'revocations',
      () => requireNotRevoked(revoked, { session, image, logged }),
      () => `none of the policy’s ${revoked.length} revocations is of this signature`,
    );
  }
  // Stops a log that shows this device a tree of its own.
  if (witnesses !== undefined) {
    trail.step(
      'witnesses',
      () => requireWitnessed(policy, bundle.entry, input.proofs ?? []),
      ({ size, names }) => `${names.join(', ')} signed the log’s head of size ${size}`,
    );
  }

  return {
    ok: true,
    steps: trail.steps,
    claims,
    statement: parseDigest(session.statement),
    environment: statement.buildEnvironment,
    session: session.session,
    builder: session.builder,
    tier: session.tier,
    fileManifestDigest: fileManifest.digest,
    signingKey: key.digest,
    signingKeySpki: key.spki,
    signingPolicy: session.signingPolicy,
    logIndex: bundle.entry.logIndex,
    integratedTime: bundle.entry.integratedTime,
    evidence: session.evidence.map(parseDigest),
  };
}

function requireSubject(payload: Uint8Array, manifestDigest: Digest): StatementHead {
  const head = parseStatementHead(payload);
  if (head.subject.digest !== manifestDigest) {
    throw signatureError('SIGNATURE_SUBJECT_MISMATCH', 'This signature is of another image.', {
      pointer: '/subject/0/digest',
      hint: `It is of ${head.subject.digest}.`,
    });
  }
  return head;
}

/** The key that a log entry names, and the entry's leaf. */
interface Logged {
  readonly key: SigningKey;
  readonly leaf: Uint8Array;
  /** The same: of UTF-8, two texts differ where their bytes do. */
  readonly leafText: string;
}

function keyOf(bundle: ParsedBundle): Logged {
  const leaf = borrowBase64(bundle.entry.body);
  const leafText = fromUtf8(leaf);
  const key = keyInLeaf(leafText);
  const keyid = bundle.envelope.signatures[0]?.keyid;
  if (bundle.hint !== key.hint || (keyid !== undefined && keyid !== key.hint)) {
    throw signatureError('SIGNATURE_KEY_HINT', 'The bundle’s key hint is not that of the logged key.', {
      pointer: '/verificationMaterial/publicKey/hint',
    });
  }
  return { key, leaf, leafText };
}

/** The key in the leaf. The leaf as a whole is compared in its own step; this reads the one field it can't know. */
function keyInLeaf(leaf: string): SigningKey {
  const match = /"verifier":"([A-Za-z0-9+/]{1,1024}={0,2})"/.exec(leaf);
  if (match?.[1] === undefined) throw leafMismatch();
  return signingKeyOfVerifier(match[1]);
}

function requireLeaf({ envelope, payload }: ParsedBundle, { verifier }: SigningKey, leaf: string): void {
  if (rekorDsseText(envelope, verifier, payload) !== leaf) throw leafMismatch();
}

/** The log that the entry is of, if it is one of the policy's and has the entry; its origin. */
function requireLogged(
  entry: LogEntry<Uint8Array>,
  policy: ImagePolicy,
  leaf: Uint8Array,
  holds: HoldsEcdsa,
): string {
  const { logs } = compiledPolicy(policy);
  const log = logs.get(entry.logId) ?? [...logs.values()][0];
  if (log === undefined) throw new Error('a policy names a log');
  verifyLogEntry(entry, log, leaf, holds);
  return log.origin;
}

function leafMismatch() {
  return signatureError('SIGNATURE_LOG_LEAF', 'The log entry is not of this signature.', {
    pointer: '/verificationMaterial/tlogEntries/0/canonicalizedBody',
  });
}

function requireImage(input: SignatureInput, statement: ParsedStatement): Claims['image'] {
  const image =
    'index' in input
      ? indexClaims(input.index.bytes, input.index.mediaType)
      : configClaims(parseJson(input.configBytes));
  if (!sameJson(image, statement.image)) {
    throw signatureError('SIGNATURE_IMAGE_CONFIG', 'The image’s configuration is not the signed one.', {
      pointer: '/predicate/image',
    });
  }
  // An index holds no files: what says that it does would pass for an image's signature with files.
  if ('index' in image && statement.fileManifest.files !== 0) {
    throw signatureError(
      'IMAGE_FILE_MANIFEST',
      'An index holds no files, and its signature says that it does.',
      {
        pointer: '/predicate/fileManifest/files',
      },
    );
  }
  const { platform } = compiledPolicy(input.policy);
  // An index is for every platform it names; which image of it is taken, the walk decides.
  if (platform !== undefined && !('index' in image) && !runsOn(image, platform)) {
    throw signatureError('SIGNATURE_PLATFORM', `The policy wants an image for ${platformName(platform)}.`, {
      hint: `It is for ${platformName(image)}.`,
    });
  }
  return image;
}

/** How many images an index names; what only attests one of them is none. */
function imagesIn({ index }: Extract<Claims['image'], { readonly index: unknown }>): number {
  return index.filter(({ os }) => os !== 'unknown').length;
}

/** The result must say of *this* statement that its session closed on it. */
function requireSession(
  session: SessionClaims | undefined,
  statement: ParsedStatement,
  key: SigningKey,
): SessionClaims {
  // A device's everyday result is signed by the same issuer; it must not pass for a build's.
  if (session === undefined) {
    throw signatureError('SIGNATURE_RESULT_KIND', 'The attestation result is not of a closed build session.');
  }
  // A result moved to another image.
  if (session.subject !== statement.subject.digest) {
    throw signatureError('SIGNATURE_RESULT_SUBJECT', 'The attestation session closed on another image.');
  }
  // Claims changed after the quote that committed to them.
  if (session.statement !== statementDigest(statement)) {
    throw signatureError('SIGNATURE_RESULT_STATEMENT', 'The attestation session closed on other claims.');
  }
  // A key that no build environment vouched for, with the log entry and result of one that was.
  if (session.signingKey !== key.digest) {
    throw signatureError('SIGNATURE_RESULT_KEY', 'The attestation session vouches for another signing key.');
  }
  // The copy in the predicate is for readers that know no EAR: it must not say anything else.
  const said = statement.buildEnvironment;
  for (const field of ['session', 'builder', 'tier', 'boot', 'secureBoot', 'evidence'] as const) {
    if (said[field] !== session[field] && !sameJson(said[field], session[field])) {
      throw signatureError('SIGNATURE_RESULT_MISMATCH', 'The statement and its attestation result differ.', {
        pointer: `/predicate/buildEnvironment/${field}`,
      });
    }
  }
  return session;
}

function timeOf(bundle: ParsedBundle): Date {
  return new Date(bundle.entry.integratedTime * 1000);
}
