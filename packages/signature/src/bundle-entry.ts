import { Base64, borrowBase64, Exact, fromBase64, fromHex, toBase64, toHex } from '@kallio/codec';
import type { LogEntry } from '@kallio/tlog';
import { type Static, Type } from 'typebox';
import { signatureError } from './error.ts';

/** A 64-bit integer as protobuf's JSON writes it. */
const Int64 = Type.String({ pattern: '^(?:0|[1-9]\\d{0,15})$' });
const Bytes32 = Type.String({ pattern: '^[A-Za-z0-9+/]{43}=$' });

const ofKind = <K extends 'dsse' | 'hashedrekord'>(kinds: readonly K[]) =>
  Exact({
    logIndex: Int64,
    logId: Exact({ keyId: Bytes32 }),
    kindVersion: Exact({
      kind: Type.Union(kinds.map((kind) => Type.Literal(kind))),
      version: Type.Literal('0.0.1'),
    }),
    integratedTime: Int64,
    inclusionPromise: Exact({ signedEntryTimestamp: Base64(256) }),
    inclusionProof: Exact({
      logIndex: Int64,
      rootHash: Bytes32,
      treeSize: Int64,
      hashes: Type.Array(Bytes32, { maxItems: 64 }),
      checkpoint: Exact({ envelope: Type.String({ maxLength: 4096 }) }),
    }),
    canonicalizedBody: Base64(65_535),
  });

/** A log entry in a Sigstore bundle, with promise and proof. */
export const BundleEntry = ofKind(['dsse', 'hashedrekord']);
/** One of an envelope. */
export const DsseEntry = ofKind(['dsse']);

/** The entry as the log itself hands it out, its hashes decoded. */
export function logEntryOf(entry: Static<typeof BundleEntry>): LogEntry<Uint8Array> {
  const proof = entry.inclusionProof;
  return {
    logIndex: integer(entry.logIndex, 'logIndex'),
    integratedTime: integer(entry.integratedTime, 'integratedTime'),
    logId: toHex(borrowBase64(entry.logId.keyId)),
    body: entry.canonicalizedBody,
    signedEntryTimestamp: entry.inclusionPromise.signedEntryTimestamp,
    inclusionProof: {
      logIndex: integer(proof.logIndex, 'inclusionProof/logIndex'),
      treeSize: integer(proof.treeSize, 'inclusionProof/treeSize'),
      rootHash: fromBase64(proof.rootHash),
      hashes: proof.hashes.map(fromBase64),
      checkpoint: proof.checkpoint.envelope,
    },
  };
}

/** The entry as a bundle has it: {@link logEntryOf} reads it. */
export function bundleEntryOf(entry: LogEntry, kind: 'dsse' | 'hashedrekord') {
  const proof = entry.inclusionProof;
  return {
    logIndex: String(entry.logIndex),
    logId: { keyId: toBase64(fromHex(entry.logId, 32)) },
    kindVersion: { kind, version: '0.0.1' },
    integratedTime: String(entry.integratedTime),
    inclusionPromise: { signedEntryTimestamp: entry.signedEntryTimestamp },
    inclusionProof: {
      logIndex: String(proof.logIndex),
      rootHash: toBase64(fromHex(proof.rootHash, 32)),
      treeSize: String(proof.treeSize),
      hashes: proof.hashes.map((hash) => toBase64(fromHex(hash, 32))),
      checkpoint: { envelope: proof.checkpoint },
    },
    canonicalizedBody: entry.body,
  };
}

function integer(text: string, field: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw signatureError('BUNDLE_SHAPE', 'This number is too large.', {
    pointer: `/verificationMaterial/tlogEntries/0/${field}`,
  });
}
