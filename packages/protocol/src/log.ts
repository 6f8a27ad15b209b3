import { Base64, Exact, Hex } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { route } from './route.ts';

/** DSSE envelope with one signature. */
export const Envelope = Exact({
  payloadType: Type.Literal('application/vnd.in-toto+json'),
  payload: Base64(1024 * 1024),
  signatures: Type.Array(Exact({ sig: Base64(256), keyid: Type.Optional(Type.String({ maxLength: 256 })) }), {
    minItems: 1,
    maxItems: 1,
  }),
});
export type Envelope = Static<typeof Envelope>;

const Index = Type.Integer({ minimum: 0 });

export const InclusionProof = Exact({
  logIndex: Index,
  treeSize: Type.Integer({ minimum: 1 }),
  rootHash: Hex(32),
  hashes: Type.Array(Hex(32), { maxItems: 64 }),
  /** The signed note that the proof leads to, in the rendering for Sigstore clients. */
  checkpoint: Type.String({ maxLength: 4096 }),
});
export type InclusionProof = Static<typeof InclusionProof>;

/** An entry with everything an offline verifier needs. */
export const LogEntry = Exact({
  logIndex: Index,
  /** Seconds since 1970, UTC. */
  integratedTime: Type.Integer({ minimum: 0 }),
  /** SHA-256 of the log's SPKI. */
  logId: Hex(32),
  /** The leaf, canonical JSON. */
  body: Base64(65_535),
  /** ECDSA P-256 over the JCS of body, integratedTime, logID, logIndex; DER. */
  signedEntryTimestamp: Base64(256),
  inclusionProof: InclusionProof,
});
export type LogEntry = Static<typeof LogEntry>;

export const logAdd = route({
  method: 'POST',
  path: '/v1/log/entries',
  access: ['attester', 'operator'],
  summary: 'Add an image signature; answered only when the checkpoint that covers it is durable',
  body: Exact({
    envelope: Envelope,
    /** SPKI of the signing key, DER. */
    publicKey: Base64(256),
  }),
  reply: LogEntry,
});

export const logEntry = route({
  method: 'GET',
  path: '/v1/log/entries/:index',
  access: ['public'],
  summary: 'An entry with its inclusion proof in the newest checkpoint',
  params: Exact({ index: Index }),
  reply: LogEntry,
});

export const logProof = route({
  method: 'GET',
  path: '/v1/log/entries/:index/proof',
  access: ['public'],
  summary: 'An entry’s proof under a head that the log’s witnesses have signed (C2SP tlog-proof)',
  params: Exact({ index: Index }),
  reply: Exact({
    proof: Type.String({ maxLength: 40 * 1024 }),
    /** Names of the witnesses that signed. */
    witnesses: Type.Array(Type.String(), { maxItems: 64 }),
  }),
});

export const logConsistency = route({
  method: 'GET',
  path: '/v1/log/consistency',
  access: ['public'],
  summary: 'Proof that one head of the log extends another',
  query: Exact({ from: Index, to: Index }),
  reply: Exact({ hashes: Type.Array(Hex(32), { maxItems: 128 }) }),
});

/** Plain text: the newest head, C2SP tlog-tiles section "Checkpoints" (Ed25519). `?rendering=sigstore` for the other. */
export const LOG_CHECKPOINT = '/v1/log/checkpoint';
/** Tiles as C2SP tlog-tiles lays them out, below this path. */
export const LOG_TILES = '/v1/log/tile';
