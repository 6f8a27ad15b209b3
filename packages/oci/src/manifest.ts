import { type Digest, DigestSchema, decodeShape, type Json, parseDigest, parseJson } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { ociError } from './error.ts';

/** Media types (OCI image specification 1.1, "Media types") and their Docker schema 2 twins. */
export const MEDIA = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  empty: 'application/vnd.oci.empty.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const;

/** The annotation under which a layout's index keeps a tag (image specification 1.1, "Image Layout"). */
export const REFERENCE_NAME = 'org.opencontainers.image.ref.name';

/** Largest manifest or index, in bytes (distribution specification: at least 4 MiB must be taken; nobody needs more). */
export const MAX_MANIFEST = 4 * 1024 * 1024;
/** Most entries of an index that is read at all: of a list of referrers, of a layout's images. */
export const MAX_LISTED = 4096;
/** Most image manifests an index may name. */
export const MAX_INDEX = 256;
/** Largest image configuration, in bytes. */
export const MAX_CONFIG = 4 * 1024 * 1024;

const Size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Annotations = Type.Record(Type.String(), Type.String());

const DescriptorShape = Type.Object({
  mediaType: Type.String({ maxLength: 255 }),
  digest: DigestSchema,
  size: Size,
  artifactType: Type.Optional(Type.String({ maxLength: 255 })),
  annotations: Type.Optional(Annotations),
  platform: Type.Optional(
    Type.Object({ architecture: Type.String(), os: Type.String(), variant: Type.Optional(Type.String()) }),
  ),
});

/** What a manifest says of another piece of content. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: { readonly architecture: string; readonly os: string; readonly variant?: string };
}

const ManifestShape = Type.Object({
  schemaVersion: Type.Literal(2),
  mediaType: Type.Optional(Type.String()),
  artifactType: Type.Optional(Type.String()),
  config: DescriptorShape,
  layers: Type.Array(DescriptorShape, { maxItems: 512 }),
  subject: Type.Optional(DescriptorShape),
  annotations: Type.Optional(Annotations),
});

const IndexShape = Type.Object({
  schemaVersion: Type.Literal(2),
  mediaType: Type.Optional(Type.String()),
  artifactType: Type.Optional(Type.String()),
  manifests: Type.Array(DescriptorShape, { maxItems: MAX_LISTED }),
  annotations: Type.Optional(Annotations),
});

/** An image manifest. */
export interface ImageManifest {
  readonly kind: 'manifest';
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An image index. */
export interface ImageIndex {
  readonly kind: 'index';
  readonly manifests: readonly Descriptor[];
}

/** Parses manifest or index, as `mediaType` says, strictly. */
export function parseManifest(bytes: Uint8Array, mediaType: string): ImageManifest | ImageIndex {
  if (bytes.length > MAX_MANIFEST)
    throw ociError('OCI_TOO_LARGE', `A manifest is at most ${MAX_MANIFEST} bytes.`);
  const json = parseJson(bytes, { maxBytes: MAX_MANIFEST });
  refuseAmbiguous(json);
  if (mediaType === MEDIA.manifest || mediaType === MEDIA.dockerManifest) {
    const shape = decodeShape(ManifestShape, json, 'OCI_MANIFEST', 'This manifest');
    requireSaid(shape.mediaType, mediaType);
    return {
      kind: 'manifest',
      config: descriptor(shape.config),
      layers: shape.layers.map(descriptor),
      ...(shape.artifactType === undefined ? {} : { artifactType: shape.artifactType }),
      ...(shape.subject === undefined ? {} : { subject: descriptor(shape.subject) }),
      ...(shape.annotations === undefined ? {} : { annotations: shape.annotations }),
    };
  }
  if (mediaType === MEDIA.index || mediaType === MEDIA.dockerList) {
    const shape = decodeShape(IndexShape, json, 'OCI_MANIFEST', 'This index');
    requireSaid(shape.mediaType, mediaType);
    return { kind: 'index', manifests: shape.manifests.map(descriptor) };
  }
  throw ociError('OCI_MEDIA_TYPE', `A manifest of type ${JSON.stringify(mediaType)} is not read here.`, {
    hint: 'OCI manifests and indexes and Docker schema 2 are; schema 1 is not.',
  });
}

/** Attack: a document that one reader takes for a manifest and another for an index (CVE-2021-41190). */
function refuseAmbiguous(json: Json): void {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return;
  const isManifest = 'layers' in json || 'config' in json;
  if ((isManifest && 'manifests' in json) || 'fsLayers' in json) {
    throw ociError('OCI_MANIFEST', 'This document could be read as more than one kind of manifest.');
  }
}

function requireSaid(said: string | undefined, expected: string): void {
  if (said !== undefined && said !== expected) {
    throw ociError(
      'OCI_MEDIA_TYPE',
      `This manifest came as ${expected} and says it is ${JSON.stringify(said)}.`,
      {
        pointer: '/mediaType',
      },
    );
  }
}

function descriptor(shape: Static<typeof DescriptorShape>): Descriptor {
  return { ...shape, digest: parseDigest(shape.digest) };
}
