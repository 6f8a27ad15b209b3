import {
  Base64,
  type Digest,
  decodeShape,
  digestOf,
  Exact,
  equalBytes,
  fromBase64,
  isDigest,
  type Json,
  parseJson,
  toHex,
  utf8,
} from '@kallio/codec';
import {
  type Envelope,
  type LogEntry,
  logIdOf,
  pemOf,
  type TrustedLog,
  trustedLog,
  verifyEntryInclusion,
  verifyP256,
  verifySet,
} from '@kallio/tlog';
import { Type } from 'typebox';
import { BUNDLE_MEDIA_TYPE, MAX_BUNDLE } from './bundle.ts';
import { BundleEntry, logEntryOf } from './bundle-entry.ts';
import { PAYLOAD_TYPE, verifyEnvelope } from './dsse.ts';
import { signatureError } from './error.ts';
import { type SigningKey, signingKeyOf } from './key.ts';
import { membersOf } from './members.ts';

/** The first bundles v0.3 were written with the older spelling of a media type. */
const MEDIA_TYPES = [BUNDLE_MEDIA_TYPE, 'application/vnd.dev.sigstore.bundle+json;version=0.3'] as const;

/** Any Sigstore bundle v0.3 that is signed with a managed key and logged in a Rekor v1 log. */
const ManagedBundle = Exact({
  mediaType: Type.Union(MEDIA_TYPES.map((type) => Type.Literal(type))),
  verificationMaterial: Exact({
    publicKey: Exact({ hint: Type.String({ maxLength: 256 }) }),
    tlogEntries: Type.Tuple([BundleEntry]),
    // Not read: the log's time is enough here, and no time stamp authority is trusted.
    timestampVerificationData: Type.Optional(Type.Unknown()),
  }),
  dsseEnvelope: Type.Optional(
    Exact({
      payload: Base64(MAX_BUNDLE),
      payloadType: Type.Literal(PAYLOAD_TYPE),
      signatures: Type.Tuple([
        Exact({ sig: Base64(256), keyid: Type.Optional(Type.String({ maxLength: 256 })) }),
      ]),
    }),
  ),
  messageSignature: Type.Optional(
    Exact({
      messageDigest: Exact({ algorithm: Type.Literal('SHA2_256'), digest: Base64(32) }),
      signature: Base64(256),
    }),
  ),
});

const DsseLeaf = Exact({
  apiVersion: Type.Literal('0.0.1'),
  kind: Type.Literal('dsse'),
  spec: Exact({
    envelopeHash: Exact({ algorithm: Type.Literal('sha256'), value: Type.String() }),
    payloadHash: Exact({ algorithm: Type.Literal('sha256'), value: Type.String() }),
    signatures: Type.Tuple([Exact({ signature: Type.String(), verifier: Base64(4096) })]),
  }),
});

const HashedRekordLeaf = Exact({
  apiVersion: Type.Literal('0.0.1'),
  kind: Type.Literal('hashedrekord'),
  spec: Exact({
    data: Exact({ hash: Exact({ algorithm: Type.Literal('sha256'), value: Type.String() }) }),
    signature: Exact({ content: Type.String(), publicKey: Exact({ content: Base64(4096) }) }),
  }),
});

const TrustedRoot = Type.Object({
  tlogs: Type.Array(
    Type.Object({
      publicKey: Type.Object({
        rawBytes: Base64(1024),
        keyDetails: Type.String(),
        validFor: Type.Object({ start: Type.String(), end: Type.Optional(Type.String()) }),
      }),
    }),
    { maxItems: 64 },
  ),
});

/** What a bundle of any maker is judged by. */
export interface ManagedInput {
  readonly bundle: Uint8Array;
  /** SPKI of the signer's key, DER. */
  readonly publicKey: Uint8Array;
  /** A Sigstore trusted root (JSON): the logs that are believed. */
  readonly trustedRoot: Uint8Array;
  /** What was signed: the bytes, or for an attestation their digest. */
  readonly artifact: Uint8Array | Digest;
}

/**
 * Verifies a bundle of any maker with a key one already trusts: `key`'s signature of this artifact, logged by a
 * trusted log. Says nothing about what an attestation claims. Throws the first refusal.
 */
export function verifyBundleWithKey(input: ManagedInput): LogEntry<Uint8Array> {
  if (input.bundle.length > MAX_BUNDLE) {
    throw signatureError('BUNDLE_TOO_LARGE', `A bundle has at most ${MAX_BUNDLE} bytes.`);
  }
  const document = parseJson(input.bundle, { maxBytes: MAX_BUNDLE, maxDepth: 16 });
  requireManaged(document);
  const bundle = decodeShape(ManagedBundle, document, 'BUNDLE_SHAPE', 'The bundle');
  const [entryOfBundle] = bundle.verificationMaterial.tlogEntries;
  const entry = logEntryOf(entryOfBundle);
  const leaf = parseJson(fromBase64(entry.body));
  const key = signingKeyOf(input.publicKey);
  const { dsseEnvelope, messageSignature } = bundle;
  if (dsseEnvelope !== undefined && messageSignature === undefined) {
    verifyAttestation(
      { ...dsseEnvelope, signatures: [...dsseEnvelope.signatures] },
      leaf,
      key,
      input.artifact,
    );
  } else if (messageSignature !== undefined && dsseEnvelope === undefined) {
    verifyMessage(messageSignature, leaf, key, input.artifact);
  } else {
    throw signatureError('BUNDLE_SHAPE', 'A bundle holds an envelope or a message signature.');
  }
  const log = logFor(entry, input.trustedRoot);
  verifySet(entry, log);
  verifyEntryInclusion(entry, log);
  return entry;
}

/** Bundles that are good, and of another kind: each has its own code, as "not this shape" would not say what came. */
function requireManaged(document: Json): void {
  const bundle = membersOf(document);
  if (!MEDIA_TYPES.some((type) => type === bundle.get('mediaType'))) {
    throw signatureError('BUNDLE_MEDIA_TYPE', 'Only Sigstore bundles v0.3 are read.', {
      pointer: '/mediaType',
    });
  }
  const material = membersOf(bundle.get('verificationMaterial'));
  if (material.has('certificate') || material.has('x509CertificateChain')) {
    throw signatureError(
      'BUNDLE_KEYLESS',
      'This bundle is signed with a certificate, not with a managed key.',
      {
        pointer: '/verificationMaterial',
        hint: 'Verify it with cosign or sigstore-go.',
      },
    );
  }
}

function verifyAttestation(
  envelope: Envelope,
  leaf: unknown,
  key: SigningKey,
  artifact: Uint8Array | Digest,
): void {
  verifyEnvelope(envelope, key);
  const payload = fromBase64(envelope.payload);
  const { spec } = decodeShape(DsseLeaf, leaf, 'SIGNATURE_LOG_LEAF', 'The log entry');
  const [logged] = spec.signatures;
  // A log entry of another statement, of another signature of it, or of another key.
  requireLogged(spec.payloadHash.value === digestOf(payload).slice('sha256:'.length));
  requireLogged(logged.signature === envelope.signatures[0]?.sig);
  requireLogged(isKey(logged.verifier, key));
  const wanted = typeof artifact === 'string' ? artifact : digestOf(artifact);
  if (!subjectsOf(payload).includes(wanted)) {
    throw signatureError('SIGNATURE_SUBJECT_MISMATCH', 'This attestation is not about this artifact.');
  }
}

/** Digests of a statement's subjects; an attestation of another maker may have several. */
function subjectsOf(payload: Uint8Array): Digest[] {
  const subject = membersOf(parseJson(payload)).get('subject');
  if (!Array.isArray(subject)) return [];
  return subject
    .map((one) => `sha256:${membersOf(membersOf(one).get('digest')).get('sha256')}`)
    .filter(isDigest);
}

function verifyMessage(
  message: { messageDigest: { digest: string }; signature: string },
  leaf: unknown,
  key: SigningKey,
  artifact: Uint8Array | Digest,
): void {
  if (typeof artifact === 'string') {
    throw signatureError('SIGNATURE_NEEDS_ARTIFACT', 'A signature of bytes is verified over the bytes.', {
      hint: 'Give the file itself, not its digest.',
    });
  }
  const digest = digestOf(artifact).slice('sha256:'.length);
  if (toHex(fromBase64(message.messageDigest.digest)) !== digest) {
    throw signatureError('SIGNATURE_SUBJECT_MISMATCH', 'This signature is of other bytes.');
  }
  if (!verifyP256(key.key, artifact, fromBase64(message.signature))) {
    throw signatureError('SIGNATURE_INVALID', 'The signature does not hold for these bytes.');
  }
  const { spec } = decodeShape(HashedRekordLeaf, leaf, 'SIGNATURE_LOG_LEAF', 'The log entry');
  requireLogged(spec.data.hash.value === digest);
  requireLogged(spec.signature.content === message.signature);
  requireLogged(isKey(spec.signature.publicKey.content, key));
}

function isKey(pem: string, key: SigningKey): boolean {
  return equalBytes(fromBase64(pem), utf8(pemOf(key.spki)));
}

function requireLogged(matches: boolean): void {
  if (!matches) throw signatureError('SIGNATURE_LOG_LEAF', 'The log entry is not of this signature.');
}

/** The trusted log that an entry says it is of, if that log's key was valid then. */
function logFor(entry: Pick<LogEntry, 'logId' | 'integratedTime'>, trustedRoot: Uint8Array): TrustedLog {
  const root = decodeShape(TrustedRoot, parseJson(trustedRoot), 'BUNDLE_TRUSTED_ROOT', 'The trusted root');
  const time = entry.integratedTime * 1000;
  for (const { publicKey } of root.tlogs) {
    const spki = fromBase64(publicKey.rawBytes);
    const { start, end } = publicKey.validFor;
    const valid = Date.parse(start) <= time && (end === undefined || time <= Date.parse(end));
    if (valid && publicKey.keyDetails === 'PKIX_ECDSA_P256_SHA_256' && logIdOf(spki) === entry.logId) {
      return trustedLog(spki);
    }
  }
  throw signatureError('BUNDLE_LOG_UNTRUSTED', 'The trusted root names no log that this entry could be of.');
}
