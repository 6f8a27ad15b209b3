import { DigestSchema, Exact } from '@kallio/codec';
import { Type } from 'typebox';
import { route } from './route.ts';

/*
 * Reference values for instances. The server knows which file manifest an image has from the signed statement that a
 * closed session of its own led to, once that is in the log; the manifest itself is too large for a statement, so
 * whoever has verified the image (a device, before it starts one; the build host, after it logged one) uploads it.
 */

const ImageParams = Exact({ digest: DigestSchema });

/** What the server knows of an image. Ask before uploading: most starts are of an image that is known already. */
export const imageShow = route({
  method: 'GET',
  path: '/v1/images/:digest',
  access: ['attester', 'viewer'],
  summary: 'Has this image reference values for its instances?',
  params: ImageParams,
  reply: Exact({
    image: DigestSchema,
    /** SHA-256 of the file manifest's JCS, as the logged statement names it; absent when no statement is known. */
    fileManifest: Type.Optional(DigestSchema),
    /** True when the file manifest itself is here. Instances of an image without it are UNKNOWN. */
    known: Type.Boolean(),
  }),
});

/**
 * Uploads the file manifest of an image: the JSON document whose JCS the statement's digest is of. It is accepted from
 * any attester, because its digest is what is trusted, not who brings it.
 */
export const fileManifestPut = route({
  method: 'PUT',
  path: '/v1/images/:digest/file-manifest',
  access: ['attester', 'operator'],
  summary: 'Bring the file manifest that the logged statement for this image names',
  params: ImageParams,
  body: Type.Unknown(),
  reply: Exact({ fileManifest: DigestSchema }),
});
