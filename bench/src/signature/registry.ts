import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { digestOf } from '@kallio/codec';
import { MEDIA } from '@kallio/oci';

/** A registry of a few documents, as small as can be: what is measured is the client. */
export interface SmallRegistry {
  readonly host: string;
  close(): Promise<void>;
}

export interface Document {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

/** Serves blobs and manifests of any repository by digest, and a fallback index of referrers. No referrers API. */
export async function serveRegistry(
  blobs: readonly Uint8Array[],
  manifests: readonly Document[],
  tags: ReadonlyMap<string, Document>,
): Promise<SmallRegistry> {
  const byDigest = new Map<string, Document>(manifests.map((one) => [digestOf(one.bytes), one]));
  for (const bytes of blobs) byDigest.set(digestOf(bytes), { bytes, mediaType: 'application/octet-stream' });
  const server = createServer((request, response) => {
    const name =
      decodeURIComponent(request.url ?? '')
        .split('/')
        .at(-1) ?? '';
    const found =
      request.url?.includes('/referrers/') === true ? undefined : (tags.get(name) ?? byDigest.get(name));
    if (request.url === '/v2/') response.writeHead(200).end();
    else if (found === undefined) response.writeHead(404).end();
    else {
      response.writeHead(200, {
        'content-type': found.mediaType,
        'content-length': found.bytes.length,
        'docker-content-digest': digestOf(found.bytes),
      });
      response.end(request.method === 'HEAD' ? undefined : found.bytes);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    host: `127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/** A referrer's manifest, and how an index lists it. */
export function referrerOf(bundle: Pick<Buffer, 'length'> & Uint8Array, type: string, subject: Document) {
  const empty = Buffer.from('{}');
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      artifactType: type,
      config: { mediaType: MEDIA.empty, digest: digestOf(empty), size: empty.length },
      layers: [{ mediaType: type, digest: digestOf(bundle), size: bundle.length }],
      subject: { mediaType: subject.mediaType, digest: digestOf(subject.bytes), size: subject.bytes.length },
      annotations: { 'dev.sigstore.bundle.content': 'dsse-envelope' },
    }),
  );
  const listing = {
    mediaType: MEDIA.manifest,
    digest: digestOf(manifest),
    size: manifest.length,
    artifactType: type,
  };
  return { document: { bytes: new Uint8Array(manifest), mediaType: MEDIA.manifest }, listing, empty };
}

/** The index that stands in for the referrers API: its tag, and the document. */
export function fallbackOf(subject: Document, listings: readonly unknown[]): readonly [string, Document] {
  const index = { schemaVersion: 2, mediaType: MEDIA.index, manifests: listings };
  return [
    digestOf(subject.bytes).replace(':', '-'),
    { bytes: new Uint8Array(Buffer.from(JSON.stringify(index))), mediaType: MEDIA.index },
  ];
}
