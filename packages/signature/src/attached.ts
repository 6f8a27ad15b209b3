import { type Digest, utf8 } from '@kallio/codec';
import { type Artifact, type Descriptor, FILE_MANIFEST_TYPE, parseManifest, referrerBlob } from '@kallio/oci';
import { BUNDLE_MEDIA_TYPE } from './bundle.ts';
import { EVIDENCE_TYPE } from './evidence-type.ts';
import { WITNESSED_TYPE } from './policy/witnesses.ts';
import type { SignedSource } from './source.ts';
import { PREDICATE_TYPE } from './statement.ts';

/** Most of a kind that are read, of bundles, witnessed proofs and evidence: anybody who may push can attach more. */
export const MAX_CANDIDATES = 64;
/** What belongs to a signed image, by artifact type. */
export const ATTACHED_TYPES: readonly string[] = [
  BUNDLE_MEDIA_TYPE,
  FILE_MANIFEST_TYPE,
  EVIDENCE_TYPE,
  WITNESSED_TYPE,
];

/** Where Sigstore's clients look for what a bundle states. Not believed: it only says where to look first. */
const PREDICATE_ANNOTATION = 'dev.sigstore.bundle.predicateType';

/** What is attached to an image or index: listed when it is first asked for, and once, whatever is looked for in it. */
export class Attached {
  readonly source: SignedSource;
  readonly subject: Digest;
  #listed: Promise<readonly Descriptor[]> | undefined;

  constructor(source: SignedSource, subject: Digest) {
    this.source = source;
    this.subject = subject;
  }

  /** Has it listed now, while others are waited for. What goes wrong is told to who asks {@link of} it. */
  begin(): this {
    this.#list().catch(() => undefined);
    return this;
  }

  #list(): Promise<readonly Descriptor[]> {
    this.#listed ??= this.source.referrers(this.subject, ...ATTACHED_TYPES);
    return this.#listed;
  }

  /** What says that it is of this artifact type. */
  async of(artifactType: string): Promise<readonly Descriptor[]> {
    return (await this.#list()).filter((listed) => listed.artifactType === artifactType);
  }

  /** The one blob of a manifest that was listed; undefined where that is nothing of this type and subject. */
  async blobOf({ digest }: Descriptor, artifactType: string): Promise<Descriptor | undefined> {
    const { bytes, mediaType } = await this.source.manifest(digest);
    const manifest = parseManifest(bytes, mediaType);
    return manifest.kind === 'manifest' ? referrerBlob(manifest, this.subject, artifactType) : undefined;
  }
}

/** A bundle as it is attached to its image: annotated as Sigstore's clients look for it. */
export function bundleArtifact(bundle: Uint8Array, predicateType: string = PREDICATE_TYPE): Artifact {
  return {
    type: BUNDLE_MEDIA_TYPE,
    bytes: bundle,
    annotations: { 'dev.sigstore.bundle.content': 'dsse-envelope', [PREDICATE_ANNOTATION]: predicateType },
  };
}

/** A witnessed proof as it is attached to its image. */
export function proofArtifact(proof: string): Artifact {
  return { type: WITNESSED_TYPE, bytes: utf8(proof) };
}

/** Bundles, those first that are said to state what Kallio's do. */
export function oursFirst(listed: readonly Descriptor[]): readonly Descriptor[] {
  const ours = (candidate: Descriptor) => candidate.annotations?.[PREDICATE_ANNOTATION] === PREDICATE_TYPE;
  return [...listed.filter(ours), ...listed.filter((candidate) => !ours(candidate))];
}
