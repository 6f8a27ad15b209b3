import { DigestSchema, decodeShape, Exact, parseDigest } from '@kallio/codec';
import type { Claims } from '@kallio/signature';
import { Type } from 'typebox';

const Text = Type.String({ maxLength: 65_536 });
const Texts = Type.Array(Text, { maxItems: 4096 });

const ClaimsShape = Exact({
  subject: Exact({ name: Type.String({ minLength: 1, maxLength: 512 }), digest: DigestSchema }),
  image: Exact({
    os: Text,
    architecture: Text,
    variant: Type.Optional(Text),
    user: Text,
    entrypoint: Texts,
    command: Texts,
    environment: Texts,
    workingDirectory: Text,
    ports: Texts,
    volumes: Texts,
    labels: Type.Record(Type.String(), Text),
    stopSignal: Text,
    layers: Type.Array(DigestSchema, { maxItems: 512 }),
  }),
  fileManifest: Exact({ digest: DigestSchema, files: Type.Integer({ minimum: 0 }) }),
});

/** The claims that a builder wants signed; `BUILD_CLAIMS` says where they are wrong. */
export function parseClaims(document: unknown): Claims {
  const { subject, image, fileManifest } = decodeShape(
    ClaimsShape,
    document,
    'BUILD_CLAIMS',
    'The claims to be signed',
  );
  const { variant, ...rest } = image;
  return {
    subject: { name: subject.name, digest: parseDigest(subject.digest) },
    image: { ...rest, ...(variant === undefined ? {} : { variant }), layers: image.layers.map(parseDigest) },
    fileManifest: { digest: parseDigest(fileManifest.digest), files: fileManifest.files },
  };
}
