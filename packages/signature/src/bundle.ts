import {
  Base64,
  borrowBase64,
  canonicalBytes,
  decodeShape,
  Exact,
  type Json,
  parseJson,
  readShape,
} from '@kallio/codec';
import type { Envelope, LogEntry } from '@kallio/tlog';
import { type Static, Type } from 'typebox';
import { bundleEntryOf, DsseEntry, logEntryOf } from './bundle-entry.ts';
import { PAYLOAD_TYPE } from './dsse.ts';
import { signatureError } from './error.ts';
import { keyHint } from './key.ts';

/** Media type of a Sigstore bundle v0.3: of the document, of the referrer's layer, and its artifact type. */
export const BUNDLE_MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';

/** Largest bundle read, in bytes. Larger ones are refused before a byte of them is parsed. */
export const MAX_BUNDLE = 2 * 1024 * 1024;

const Bundle = Exact({
  mediaType: Type.Literal(BUNDLE_MEDIA_TYPE),
  verificationMaterial: Exact({
    publicKey: Exact({ hint: Type.String({ maxLength: 128 }) }),
    tlogEntries: Type.Tuple([DsseEntry]),
  }),
  dsseEnvelope: Exact({
    payload: Base64(1024 * 1024),
    payloadType: Type.Literal(PAYLOAD_TYPE),
    signatures: Type.Tuple([
      Exact({ sig: Base64(256), keyid: Type.Optional(Type.String({ maxLength: 128 })) }),
    ]),
  }),
});

/** A bundle that has its shape; nothing in it is believed yet. */
export interface ParsedBundle {
  readonly hint: string;
  readonly envelope: Envelope;
  readonly payload: Uint8Array;
  readonly entry: LogEntry<Uint8Array>;
}

/** A Sigstore bundle v0.3, as today's clients take it, as canonical JSON. */
export function makeBundle(envelope: Envelope, spki: Uint8Array, entry: LogEntry): Uint8Array {
  return canonicalBytes({
    mediaType: BUNDLE_MEDIA_TYPE,
    verificationMaterial: {
      publicKey: { hint: keyHint(spki) },
      tlogEntries: [bundleEntryOf(entry, 'dsse')],
    },
    dsseEnvelope: envelope,
  });
}

/**
 * Reads a bundle, strictly: one media type, one signature, one log entry of one kind, no field that nobody reads, no
 * key twice, canonical base64. What others let pass (a v0.2 or v0.4 document, a second signature, a second entry that
 * is never checked) is refused with a code of its own.
 */
export function parseBundle(bytes: Uint8Array): ParsedBundle {
  if (bytes.length > MAX_BUNDLE) {
    throw signatureError('BUNDLE_TOO_LARGE', `A bundle has at most ${MAX_BUNDLE} bytes.`);
  }
  const bundle =
    readShape(Bundle, bytes) ?? bundleOf(parseJson(bytes, { maxBytes: MAX_BUNDLE, maxDepth: 8 }));
  const [entry] = bundle.verificationMaterial.tlogEntries;
  const [signature] = bundle.dsseEnvelope.signatures;
  return {
    hint: bundle.verificationMaterial.publicKey.hint,
    envelope: { ...bundle.dsseEnvelope, signatures: [signature] },
    payload: borrowBase64(bundle.dsseEnvelope.payload),
    entry: logEntryOf(entry),
  };
}

function bundleOf(document: Json): Static<typeof Bundle> {
  try {
    return decodeShape(Bundle, document, 'BUNDLE_SHAPE', 'The bundle');
  } catch (error) {
    requireKnownKind(document);
    throw error;
  }
}

/** What a bundle of another kind differs in has its own code: "not this shape" would not say what came. */
const Kind = Type.Object({
  mediaType: Type.Optional(Type.Unknown()),
  verificationMaterial: Type.Optional(
    Type.Object({ tlogEntries: Type.Optional(Type.Array(Type.Unknown())) }),
  ),
  dsseEnvelope: Type.Optional(
    Type.Object({
      payloadType: Type.Optional(Type.Unknown()),
      signatures: Type.Optional(Type.Array(Type.Unknown())),
    }),
  ),
});

const EntryKind = Type.Object({
  kindVersion: Type.Object({ kind: Type.Literal('dsse'), version: Type.Literal('0.0.1') }),
});

function requireKnownKind(document: unknown): void {
  const { mediaType, verificationMaterial, dsseEnvelope } = decodeShape(
    Kind,
    document,
    'BUNDLE_SHAPE',
    'The bundle',
  );
  if (mediaType !== BUNDLE_MEDIA_TYPE) {
    throw signatureError('BUNDLE_MEDIA_TYPE', 'Only Sigstore bundles v0.3 are read.', {
      pointer: '/mediaType',
    });
  }
  if (dsseEnvelope?.payloadType !== PAYLOAD_TYPE) {
    throw signatureError('BUNDLE_PAYLOAD_TYPE', 'What is signed in this bundle is no in-toto statement.', {
      pointer: '/dsseEnvelope/payloadType',
    });
  }
  if (dsseEnvelope.signatures?.length !== 1) {
    throw signatureError('BUNDLE_SIGNATURE_COUNT', 'A bundle must hold exactly one signature.', {
      pointer: '/dsseEnvelope/signatures',
    });
  }
  const entries = verificationMaterial?.tlogEntries ?? [];
  if (entries.length !== 1) {
    throw signatureError('BUNDLE_LOG_ENTRY_COUNT', 'A bundle must hold exactly one log entry.', {
      pointer: '/verificationMaterial/tlogEntries',
      hint: entries.length === 0 ? 'The signature was never logged.' : undefined,
    });
  }
  decodeShape(EntryKind, entries[0], 'BUNDLE_LOG_ENTRY_KIND', 'The log entry');
}
