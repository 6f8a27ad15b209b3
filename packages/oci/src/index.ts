export { isAttestation } from './attestation-manifest.ts';
export { configClaims, type ImageConfigClaims } from './config.ts';
export type { OciCode } from './error.ts';
export {
  FILE_MANIFEST_TYPE,
  type FileEntry,
  FileManifest,
  fileManifest,
  fileManifestBytes,
  fileManifestDigest,
  MAX_FILE_MANIFEST,
  parseFileManifest,
} from './file-manifest.ts';
export { type ImageIndexClaims, indexClaims } from './index-claims.ts';
export type { LayerLimits } from './layer.ts';
export { type Layout, openLayout } from './layout.ts';
export { type ArchiveLimits, unpackLayout } from './layout-archive.ts';
export { writeLayout } from './layout-writer.ts';
export { type Descriptor, type ImageIndex, type ImageManifest, MEDIA, parseManifest } from './manifest.ts';
export {
  hostPlatform,
  PLATFORM_PATTERN,
  type Platform,
  parsePlatform,
  platformName,
  runsOn,
} from './platform.ts';
export {
  type Artifact,
  childrenOf,
  copyImage,
  copyReferrers,
  publishReferrer,
  referrerBlob,
} from './publish.ts';
export { isLoopback, parseLayoutReference, parseReference, pinned, type Reference } from './reference.ts';
export { openRepository, Repository } from './registry/repository.ts';
export { checkRoot, type HashCache, type RootDifference } from './root-check.ts';
export { collect, type FoundManifest, type ImageSource } from './source.ts';
export type { ImageTarget } from './target.ts';
export { type ImageContents, imageOf, walkImage } from './walk.ts';
