import { ociError } from './error.ts';
import { type Descriptor, type ImageManifest, MEDIA } from './manifest.ts';

/*
 * What BuildKit puts into an index beside each image: a manifest of in-toto statements (its provenance, an SBOM) for a
 * platform that no machine is of (moby/buildkit, docs/attestations/attestation-storage.md). It is no image. The index that
 * names it is signed, and so is its digest; what its statements say is judged by nobody here.
 */

const TYPE = 'vnd.docker.reference.type';
const OF = 'vnd.docker.reference.digest';
const STATEMENT = 'application/vnd.in-toto+json';
/** Largest statement, in bytes: BuildKit makes none of more than 40 MiB. */
const MAX_STATEMENT = 64 * 1024 * 1024;

/** Whether an entry of an index says that it is no image but one of BuildKit's attestation manifests. */
export function isAttestation({
  platform,
  annotations,
}: Pick<Descriptor, 'platform' | 'annotations'>): boolean {
  return (
    platform?.os === 'unknown' &&
    platform.architecture === 'unknown' &&
    annotations?.[TYPE] === 'attestation-manifest'
  );
}

/** The digest of what an entry that {@link isAttestation} says it is about. */
export function attestedBy({ annotations }: Descriptor): string | undefined {
  return annotations?.[OF];
}

/**
 * Refuses a manifest that an index passes off as one of BuildKit's. Attack: an image rides along in an index, with no
 * platform by which anybody would take and judge it. What has nothing but statements for layers can't run.
 */
export function requireAttestation(entry: Descriptor, manifest: ImageManifest): void {
  const { config, layers, subject } = manifest;
  const refuse = (what: string, pointer: string) =>
    ociError('OCI_MANIFEST', `This index calls a manifest an attestation, but ${what}.`, {
      pointer: `${entry.digest}#${pointer}`,
    });
  for (const [i, { mediaType, size }] of layers.entries()) {
    if (mediaType !== STATEMENT) throw refuse(`it holds ${mediaType}`, `/layers/${i}/mediaType`);
    if (size > MAX_STATEMENT) throw refuse('a statement in it is too long', `/layers/${i}/size`);
  }
  if (config.mediaType !== MEDIA.empty && config.mediaType !== MEDIA.config) {
    throw refuse(`it is configured by ${config.mediaType}`, '/config/mediaType');
  }
  if (subject !== undefined && subject.digest !== attestedBy(entry)) {
    throw refuse('it is about something else', '/subject/digest');
  }
}
