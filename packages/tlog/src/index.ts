export {
  type Checkpoint,
  c2spOrigin,
  checkpointText,
  logHost,
  logOrigin,
  parseCheckpointText,
  type Rendering,
  sameHead,
  signC2spCheckpoint,
  signSigstoreCheckpoint,
  verifyC2spCheckpoint,
  verifySigstoreCheckpoint,
} from './checkpoint.ts';
export { requireP256, verifyP256 } from './ecdsa.ts';
export { verifyP256Digest } from './ecdsa-digest.ts';
export {
  type InclusionProof,
  type LogEntry,
  logIdOf,
  setPayload,
  type TrustedLog,
  trustedLog,
  verifyEntryInclusion,
  verifyLogEntry,
  verifySet,
} from './entry.ts';
export type { TlogCode } from './error.ts';
export { emptyRoot, leafHash, nodeHash } from './hash.ts';
export {
  ecdsaKeyId,
  formatNote,
  formatSignature,
  isBy,
  type Note,
  type NoteSignature,
  parseNote,
} from './note.ts';
export {
  type ConsistencyClaim,
  type InclusionClaim,
  type Subtree,
  type SubtreeClaim,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
  verifySubtreeInclusion,
} from './proof.ts';
export { type Envelope, pemOf, rekorDsseBody, rekorDsseText, verifierOf } from './rekor.ts';
export {
  hashTile,
  nodesFromTiles,
  parseTilePath,
  TILE_WIDTH,
  type TileId,
  type TileReader,
  tileExists,
  tilePath,
} from './tiles.ts';
export { consistencyProof, inclusionProof, type NodeReader, rootOf } from './tree.ts';
export {
  COSIGNATURE_KEY,
  formatVerifierKey,
  type KeyType,
  keyIdOf,
  NOTE_KEY,
  parseVerifierKey,
  type VerifierKey,
  verifierKeyOf,
} from './verifier-key.ts';
export { type Cosigned, cosign, cosignedBy } from './witness/cosignature.ts';
export {
  formatTlogProof,
  MAX_TLOG_PROOF,
  parseTlogProof,
  type TlogProof,
  verifyTlogProof,
  type WitnessedBy,
  type WitnessedHead,
} from './witness/proof.ts';
export {
  formatAddCheckpoint,
  MAX_ADD_CHECKPOINT,
  type Seen,
  Witness,
  type WitnessAnswer,
  type WitnessMemory,
  type WitnessParts,
} from './witness/witness.ts';
export { checkLog, type LogPublicKeys } from './writer/check.ts';
export type { Disk } from './writer/disk.ts';
export { fileSystem } from './writer/disk.ts';
export type { LogKeys } from './writer/keys.ts';
export { beginWitnessMemory, type HeldMemory, openWitnessMemory } from './writer/witness-memory.ts';
export { type AddedEntry, type LogOptions, LogWriter, MAX_ENTRY_BYTES } from './writer/writer.ts';
