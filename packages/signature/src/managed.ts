import {
  Base64,
  type Digest,
  decodeShape,
  digestOf,
  Exact,
  fromBase64,
  fromHex,
  type HoldsEcdsa,
  holdsEcdsa,
  isDigest,
  type Json,
  parseJson,
  readShape,
  sameBytes,
  toHex,
} from '@kallio/codec';
import {
  type Envelope,
  type LogEntry,
  logIdOf,
  type TrustedLog,
  trustedLog,
  verifyEntryInclusion,
  verifyP256,
  verifyP256Digest,
  verifySet,
} from '@kallio/tlog';
import { type Static, Type } from 'typebox';
import { BUNDLE_MEDIA_TYPE, MAX_BUNDLE } from './bundle.ts';
import { BundleEntry, logEntryOf } from './bundle-entry.ts';
import { inOneSpelling, PAYLOAD_TYPE, verifyEnvelope } from './dsse.ts';
import { signatureError } from './error.ts';
import { type SigningKey, signingKeyOf } from './key.ts';
import { membersOf } from './members.ts';
import { PutOff } from './put-off.ts';

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
  /** What was signed: the bytes, or their digest. */
  readonly artifact: Uint8Array | Digest;
}

/**
 * Verifies a bundle of any maker with a key one already trusts: `key`'s signature of this artifact, logged by a
 * trusted log. Says nothing about what an attestation claims. Throws the first refusal. Signatures are taken to hold first,
 * and verified together once all else has been looked at: where one does not hold, all is looked at again, each in its turn.
 */
export function verifyBundleWithKey(input: ManagedInput): LogEntry<Uint8Array> {
  const putOff = new PutOff();
  try {
    const entry = verifyBundle(input, putOff.holds);
    if (putOff.allHold()) return entry;
  } catch (refusal) {
    // Nothing that comes before it is wrong.
    if (putOff.allHold()) throw refusal;
  }
  return verifyBundle(input, holdsEcdsa);
}

function verifyBundle(input: ManagedInput, holds: HoldsEcdsa): LogEntry<Uint8Array> {
  const bundle = parseManaged(input.bundle);
  const [entryOfBundle] = bundle.verificationMaterial.tlogEntries;
  const entry = logEntryOf(entryOfBundle);
  const leafBytes = fromBase64(entry.body);
  const leaf = parseJson(leafBytes);
  const key = signingKeyOf(input.publicKey);
  const { dsseEnvelope, messageSignature } = bundle;
  if (dsseEnvelope !== undefined && messageSignature === undefined) {
    const envelope = { ...dsseEnvelope, signatures: [...dsseEnvelope.signatures] };
    verifyAttestation(envelope, leaf, key, input.artifact, holds);
  } else if (messageSignature !== undefined && dsseEnvelope === undefined) {
    verifyMessage(messageSignature, leaf, key, input.artifact, holds);
  } else {
    throw signatureError('BUNDLE_SHAPE', 'A bundle holds an envelope or a message signature.');
  }
  requireHint(bundle.verificationMaterial.publicKey.hint, key);
  const log = logFor(entry, input.trustedRoot);
  verifySet(entry, log, holds);
  verifyEntryInclusion(entry, log, leafBytes, holds);
  return entry;
}

function parseManaged(bytes: Uint8Array): Static<typeof ManagedBundle> {
  if (bytes.length > MAX_BUNDLE) {
    throw signatureError('BUNDLE_TOO_LARGE', `A bundle has at most ${MAX_BUNDLE} bytes.`);
  }
  const read = readShape(ManagedBundle, bytes);
  if (read !== undefined) return read;
  const document = parseJson(bytes, { maxBytes: MAX_BUNDLE, maxDepth: 16 });
  requireManaged(document);
  return decodeShape(ManagedBundle, document, 'BUNDLE_SHAPE', 'The bundle');
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
  holds: HoldsEcdsa,
): void {
  const payload = fromBase64(envelope.payload);
  verifyEnvelope(envelope, key, payload, holds);
  const { spec } = decodeShape(DsseLeaf, leaf, 'SIGNATURE_LOG_LEAF', 'The log entry');
  const [logged] = spec.signatures;
  // A log entry of another statement, of another signature of it, or of another key.
  requireLogged(spec.payloadHash.value === digestOf(payload).slice('sha256:'.length));
  requireLogged(logged.signature === envelope.signatures[0]?.sig);
  requireLogged(logged.verifier === key.verifier);
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
    .map((one) => membersOf(membersOf(one).get('digest')).get('sha256'))
    .flatMap((digest) => (typeof digest === 'string' ? `sha256:${digest}` : []))
    .filter(isDigest);
}

function verifyMessage(
  message: { messageDigest: { digest: string }; signature: string },
  leaf: unknown,
  key: SigningKey,
  artifact: Uint8Array | Digest,
  holds: HoldsEcdsa,
): void {
  const digest = (typeof artifact === 'string' ? artifact : digestOf(artifact)).slice('sha256:'.length);
  if (toHex(fromBase64(message.messageDigest.digest)) !== digest) {
    throw signatureError('SIGNATURE_SUBJECT_MISMATCH', 'This signature is of other bytes.', {
      pointer: '/messageSignature/messageDigest/digest',
    });
  }
  const signature = fromBase64(message.signature);
  const pointer = '/messageSignature/signature';
  const verified = inOneSpelling(pointer, () =>
    typeof artifact === 'string'
      ? verifyP256Digest(key.key, fromHex(digest, 32), signature, holds)
      : verifyP256(key.key, artifact, signature, holds),
  );
  if (!verified) {
    throw signatureError('SIGNATURE_INVALID', 'The signature does not hold for these bytes.', { pointer });
  }
  const { spec } = decodeShape(HashedRekordLeaf, leaf, 'SIGNATURE_LOG_LEAF', 'The log entry');
  requireLogged(spec.data.hash.value === digest);
  requireLogged(spec.signature.content === message.signature);
  requireLogged(spec.signature.publicKey.content === key.verifier);
}

/**
 * Sigstore leaves it to signer and verifier what a hint is, so one that is of no form known here says nothing: whose key it
 * is was said by who asked. One in the form of {@link SigningKey.hint} names a key, and must not name another.
 */
function requireHint(hint: string, key: SigningKey): void {
  if (!hint.startsWith('SHA256:') || hint === key.hint) return;
  throw signatureError('SIGNATURE_KEY_HINT', 'The bundle’s key hint is that of another key.', {
    pointer: '/verificationMaterial/publicKey/hint',
  });
}

function requireLogged(matches: boolean): void {
  if (!matches) throw signatureError('SIGNATURE_LOG_LEAF', 'The log entry is not of this signature.');
}

/** A log of a trusted root, and when its key is valid: milliseconds since 1970. */
interface RootLog {
  readonly id: string;
  readonly spki: Uint8Array;
  readonly from: number;
  readonly until: number;
  /** The key, imported once it is asked for. */
  log?: TrustedLog;
}

/** The trusted log that an entry says it is of, if that log's key was valid then. */
function logFor(entry: Pick<LogEntry, 'logId' | 'integratedTime'>, trustedRoot: Uint8Array): TrustedLog {
  const time = entry.integratedTime * 1000;
  const found = logsOf(trustedRoot).find(
    ({ id, from, until }) => id === entry.logId && from <= time && time <= until,
  );
  if (found === undefined) {
    throw signatureError(
      'BUNDLE_LOG_UNTRUSTED',
      'The trusted root names no log that this entry could be of.',
    );
  }
  found.log ??= trustedLog(found.spki);
  return found.log;
}

/** The trusted root that was read last: whoever verifies many bundles does so under one. */
let lastRoot: { readonly bytes: Uint8Array; readonly logs: readonly RootLog[] } | undefined;

/** The logs of a trusted root that sign with ECDSA on P-256. */
function logsOf(trustedRoot: Uint8Array): readonly RootLog[] {
  // Arrays can be written to. Stops one root from answering for another that has taken its place.
  if (lastRoot !== undefined && sameBytes(lastRoot.bytes, trustedRoot)) return lastRoot.logs;
  const bytes = trustedRoot.slice();
  const root = decodeShape(TrustedRoot, parseJson(bytes), 'BUNDLE_TRUSTED_ROOT', 'The trusted root');
  const logs = root.tlogs
    .filter(({ publicKey }) => publicKey.keyDetails === 'PKIX_ECDSA_P256_SHA_256')
    .map(({ publicKey: { rawBytes, validFor } }) => {
      const spki = fromBase64(rawBytes);
      const until = validFor.end === undefined ? Infinity : Date.parse(validFor.end);
      return { id: logIdOf(spki), spki, from: Date.parse(validFor.start), until };
    });
  lastRoot = { bytes, logs };
  return logs;
}
