import { DigestSchema, decodeShape, Exact, parseDigest } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { signatureError } from './error.ts';
import type { Claims } from './statement.ts';

const Text = Type.String({ maxLength: 65_536 });
const Texts = Type.Array(Text, { maxItems: 4096 });

const ConfigShape = Exact({
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
});

const IndexShape = Exact({
  index: Type.Array(
    Exact({ digest: DigestSchema, os: Text, architecture: Text, variant: Type.Optional(Text) }),
    { minItems: 1, maxItems: 256 },
  ),
});

/** What a signature says of an image's configuration, or of the images that an index names. */
export const ImageShape = Type.Union([ConfigShape, IndexShape]);

const ClaimsShape = Exact({
  subject: Exact({ name: Type.String({ minLength: 1, maxLength: 512 }), digest: DigestSchema }),
  image: ImageShape,
  fileManifest: Exact({ digest: DigestSchema, files: Type.Integer({ minimum: 0 }) }),
});

/** The claims that a builder wants signed; `BUILD_CLAIMS` says where they are wrong. */
export function parseClaims(document: unknown): Claims {
  const claims = decodeShape(ClaimsShape, document, 'BUILD_CLAIMS', 'The claims to be signed');
  const { subject, image, fileManifest } = claims;
  const digest = parseDigest(subject.digest);
  // An index names itself nowhere: what would sign it names images alone.
  if ('index' in image && image.index.some((one) => one.digest === digest)) {
    throw signatureError('BUILD_CLAIMS', 'An index does not name itself.', { pointer: '/image/index' });
  }
  return {
    subject: { name: subject.name, digest },
    image: 'index' in image ? indexOf(image) : configOf(image),
    fileManifest: { digest: parseDigest(fileManifest.digest), files: fileManifest.files },
  };
}

function configOf({ variant, ...rest }: Static<typeof ConfigShape>): Claims['image'] {
  return { ...rest, ...optional(variant), layers: rest.layers.map(parseDigest) };
}

function indexOf({ index }: Static<typeof IndexShape>): Claims['image'] {
  return {
    index: index.map(({ digest, variant, ...rest }) => ({
      digest: parseDigest(digest),
      ...rest,
      ...optional(variant),
    })),
  };
}

function optional(variant: string | undefined): { readonly variant?: string } {
  return variant === undefined ? {} : { variant };
}
