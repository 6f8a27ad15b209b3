import { createHash } from 'node:crypto';

/*
 * Image layouts as builders leave them that can't be run here (they want a daemon, or a root file system to themselves):
 * written after their exporters' sources. Media types, annotations, platforms, times and order are theirs; the one layer is small.
 *
 * - buildx: moby/buildkit, exporter/containerimage/writer.go and exporter/oci/export.go, docs/attestations/attestation-storage.md
 * - kaniko: GoogleContainerTools/kaniko, pkg/executor/push.go (--oci-layout-path), go-containerregistry pkg/v1/layout
 * - ko: ko-build/ko, pkg/publish/layout.go, pkg/build/gobuild.go
 */

const OCI = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  empty: 'application/vnd.oci.empty.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
};
const DOCKER = {
  manifest: 'application/vnd.docker.distribution.manifest.v2+json',
  config: 'application/vnd.docker.container.image.v1+json',
  layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
};

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: object;
  readonly annotations?: object;
}

/** A platform as a builder writes it down in a configuration. */
interface Platform {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
}

/** A layer and its digest before it was compressed. */
export interface Layer {
  readonly compressed: Uint8Array;
  readonly diffId: string;
}

const sha256 = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const bytesOf = (value: unknown, indent?: number) =>
  new TextEncoder().encode(JSON.stringify(value, null, indent));

/** What is to be written: the index, and blobs by digest. */
export class MadeLayout {
  readonly blobs = new Map<string, Uint8Array>();
  index: unknown;

  blob(mediaType: string, bytes: Uint8Array): Descriptor {
    const digest = sha256(bytes);
    this.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }
}

/** When an image is made: by the builder's clock, or at a time that says nothing. */
const now = () => new Date().toISOString();

function image(
  layout: MadeLayout,
  { compressed, diffId }: Layer,
  platform: Platform,
  types: { readonly manifest: string; readonly config: string; readonly layer: string },
  created: string | null = now(),
): Descriptor {
  const config = bytesOf({
    ...platform,
    config: { Env: ['PATH=/usr/bin:/bin'], Entrypoint: ['/greeting'], User: '65532' },
    ...(created === null ? {} : { created }),
    history: [{ created_by: 'COPY greeting /greeting', comment: platform.architecture }],
    rootfs: { type: 'layers', diff_ids: [diffId] },
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: layout.blob(types.config, config),
    layers: [layout.blob(types.layer, compressed)],
  };
  return layout.blob(types.manifest, bytesOf(manifest, 2));
}

const AMD64: Platform = { architecture: 'amd64', os: 'linux' };
const ARM64: Platform = { architecture: 'arm64', os: 'linux' };
const ARM_V7: Platform = { architecture: 'arm', os: 'linux', variant: 'v7' };

/**
 * BuildKit's provenance of one image: as an artifact, or as older versions and `oci-artifact=false` write it. Those name no
 * image where the build named none: it is the same manifest for all then.
 */
function attestation(layout: MadeLayout, of: Descriptor, artifact: boolean): Descriptor {
  const statement = bytesOf({
    _type: 'https://in-toto.io/Statement/v0.1',
    predicateType: 'https://slsa.dev/provenance/v0.2',
    subject: artifact ? [{ name: '_', digest: { sha256: of.digest.slice('sha256:'.length) } }] : [],
    predicate: { builder: { id: '' }, buildType: 'https://mobyproject.org/buildkit@v1', materials: [] },
  });
  const layer = {
    ...layout.blob('application/vnd.in-toto+json', statement),
    annotations: { 'in-toto.io/predicate-type': 'https://slsa.dev/provenance/v0.2' },
  };
  const unknown = { architecture: 'unknown', os: 'unknown' };
  const { mediaType, digest, size } = of;
  const manifest = artifact
    ? {
        schemaVersion: 2,
        mediaType: OCI.manifest,
        artifactType: 'application/vnd.docker.attestation.manifest.v1+json',
        config: { ...layout.blob(OCI.empty, bytesOf({})), data: 'e30=' },
        layers: [layer],
        subject: { mediaType, digest, size },
      }
    : {
        schemaVersion: 2,
        mediaType: OCI.manifest,
        config: layout.blob(
          OCI.config,
          bytesOf({ ...unknown, config: {}, rootfs: { type: 'layers', diff_ids: [layer.digest] } }),
        ),
        layers: [layer],
      };
  return {
    ...layout.blob(OCI.manifest, bytesOf(manifest, 2)),
    annotations: {
      'vnd.docker.reference.digest': of.digest,
      'vnd.docker.reference.type': 'attestation-manifest',
    },
    platform: unknown,
  };
}

function buildx(layout: MadeLayout, top: Descriptor): void {
  // Named twice, as with two -t: the same digest under each name.
  const named = ['registry.example/app:1', 'registry.example/app:latest'].map((name) => ({
    ...top,
    annotations: {
      'io.containerd.image.name': name,
      'org.opencontainers.image.created': now(),
      'org.opencontainers.image.ref.name': name.split(':').at(-1),
    },
  }));
  layout.index = { schemaVersion: 2, mediaType: OCI.index, manifests: named };
}

function buildxIndex(
  layout: MadeLayout,
  layer: Layer,
  platforms: readonly Platform[],
  artifact?: boolean,
): void {
  const images = platforms.map((platform) => ({ ...image(layout, layer, platform, OCI), platform }));
  const attested = artifact === undefined ? [] : images.map((one) => attestation(layout, one, artifact));
  const index = { schemaVersion: 2, mediaType: OCI.index, manifests: [...images, ...attested] };
  buildx(layout, layout.blob(OCI.index, bytesOf(index, 2)));
}

/** go-containerregistry's layouts: an index without a media type's annotations, indented by three. */
function containerregistry(layout: MadeLayout, top: Descriptor): void {
  layout.index = { schemaVersion: 2, mediaType: OCI.index, manifests: [top] };
}

/** What ko writes for the time when SOURCE_DATE_EPOCH does not say another. */
const KO_TIME = '1970-01-01T00:00:00Z';

/** Every shape, by the builder that leaves it and how it was called. */
export const SHAPES: ReadonlyMap<string, (layout: MadeLayout, layer: Layer) => void> = new Map([
  // --provenance=false
  ['buildx', (layout, layer) => buildx(layout, image(layout, layer, ARM64, OCI))],
  // with its provenance, which is its default: an index over one image
  ['buildx-attested', (layout, layer) => buildxIndex(layout, layer, [AMD64], true)],
  // --platform linux/amd64,linux/arm/v7 --provenance=false
  ['buildx-index', (layout, layer) => buildxIndex(layout, layer, [AMD64, ARM_V7])],
  ['buildx-index-attested', (layout, layer) => buildxIndex(layout, layer, [AMD64, ARM_V7], true)],
  ['buildx-index-attested-old', (layout, layer) => buildxIndex(layout, layer, [AMD64, ARM_V7], false)],
  // --oci-layout-path: Docker's media types, unless the base image has others
  ['kaniko', (layout, layer) => containerregistry(layout, image(layout, layer, AMD64, DOCKER))],
  // --reproducible
  [
    'kaniko-reproducible',
    (layout, layer) => containerregistry(layout, image(layout, layer, AMD64, DOCKER, '0001-01-01T00:00:00Z')),
  ],
  // --oci-layout-path, --platform linux/arm/v7
  ['ko', (layout, layer) => containerregistry(layout, image(layout, layer, ARM_V7, OCI, KO_TIME))],
  // --platform=linux/amd64,linux/arm64
  [
    'ko-index',
    (layout, layer) => {
      const manifests = [AMD64, ARM64].map((platform) => ({
        ...image(layout, layer, platform, OCI, KO_TIME),
        platform,
      }));
      const index = { schemaVersion: 2, mediaType: OCI.index, manifests };
      containerregistry(layout, layout.blob(OCI.index, bytesOf(index, 2)));
    },
  ],
  // Nobody's: one image made now, and one that lay there for a while.
  ['now', (layout, layer) => containerregistry(layout, image(layout, layer, AMD64, OCI))],
  [
    'earlier',
    (layout, layer) =>
      containerregistry(
        layout,
        image(layout, layer, AMD64, OCI, new Date(Date.now() - 10_000).toISOString()),
      ),
  ],
  // An image that does not say when it was made, and one that says it in no words that are a time.
  ['no-time', (layout, layer) => containerregistry(layout, image(layout, layer, AMD64, OCI, null))],
  ['odd-time', (layout, layer) => containerregistry(layout, image(layout, layer, AMD64, OCI, 'yesterday'))],
  [
    'two-images',
    (layout, layer) => {
      const manifests = [AMD64, ARM64].map((platform) => image(layout, layer, platform, OCI));
      layout.index = { schemaVersion: 2, mediaType: OCI.index, manifests };
    },
  ],
]);
