export { askAhead } from './ahead.ts';
export { ATTACHED_TYPES, bundleArtifact, proofArtifact } from './attached.ts';
export { evidenceOf } from './attached-evidence.ts';
export { BUNDLE_MEDIA_TYPE, MAX_BUNDLE, makeBundle, type ParsedBundle, parseBundle } from './bundle.ts';
export { bundleEntryOf } from './bundle-entry.ts';
export { bundlesOf } from './candidates.ts';
export { parseClaims } from './claims.ts';
export { makeEnvelope, PAYLOAD_TYPE, pae, paeDigest, verifyEnvelope } from './dsse.ts';
export type { SignatureCode } from './error.ts';
export { verifyEveryImage } from './every-image.ts';
export { type ShownEvidence, verifyBuildEvidence } from './evidence.ts';
export { EVIDENCE_TYPE, MAX_EVIDENCE } from './evidence-type.ts';
export { type VerifiedImage, type VerifyOptions, verifyImage } from './image.ts';
export {
  keyDigest,
  keyHint,
  publicKeyOfPem,
  type SigningKey,
  signingKeyOf,
} from './key.ts';
export { type ManagedInput, verifyBundleWithKey } from './managed.ts';
export { parseImagePolicy } from './policy/compile.ts';
export { ImagePolicy, imagePolicySchema, type Revocation } from './policy/schema.ts';
export { WITNESSED_TYPE } from './policy/witnesses.ts';
export { type BuildRun, buildProvenance, isProvenance, PROVENANCE_TYPE } from './provenance.ts';
export { statementSchema } from './schema.ts';
export { type CertifiedKey, certifiedKey } from './signing-key.ts';
export { layoutSource, type SignedSource } from './source.ts';
export {
  BuildEnvironment,
  buildStatement,
  type Claims,
  type ParsedStatement,
  PREDICATE_TYPE,
  parseStatement,
  parseStatementHead,
  STATEMENT_TYPE,
  type StatementHead,
  statementDigest,
  Tier,
} from './statement.ts';
export { type LogForOthers, makeTrustedRoot } from './trusted-root.ts';
export type { AcceptedImage, ImageVerdict, RefusedImage, Step, StepName } from './verdict.ts';
export { type SignatureInput, verifyImageSignature } from './verify.ts';
