import { type Digest, parseDigest } from '@kallio/codec';
import { ociError } from './error.ts';

/** An image reference: `registry/repository[:tag][@digest]`. */
export interface Reference {
  /** `host[:port]`. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** A name or an address; whether it is one is asked of who reads addresses: `1.2.3.4.5` and port 99999 are none. */
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** A folder that holds an image layout, and which of its images. */
export interface LayoutReference {
  readonly folder: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** Of whatever algorithm: one that is not read is refused, not taken for a tag. */
const LAYOUT_DIGEST = /@([A-Za-z0-9]+:[^/@]*)$/;

/**
 * Parses `FOLDER[:TAG][@DIGEST]`, as skopeo and podman name a layout after `oci:`. What stands after the last colon is a tag
 * where it can be one: what is on the disk has no say in what a name means. A folder with such a name is written with a slash
 * at its end. `OCI_REFERENCE` where there is no folder, or a digest that is none.
 */
export function parseLayoutReference(text: string): LayoutReference {
  const [, digest] = LAYOUT_DIGEST.exec(text) ?? [];
  const named = digest === undefined ? text : text.slice(0, -digest.length - 1);
  const colon = named.lastIndexOf(':');
  const tag = colon < 0 ? '' : named.slice(colon + 1);
  const hasTag = TAG.test(tag);
  const folder = hasTag ? named.slice(0, colon) : named;
  // A digest, or a tag, that went wrong would be a folder that nobody meant.
  if (folder === '' || folder.endsWith(':') || named.endsWith('@')) {
    throw ociError('OCI_REFERENCE', 'This names no image layout.', {
      hint: 'Write oci:FOLDER, oci:FOLDER:TAG or oci:FOLDER@sha256:….',
    });
  }
  return {
    folder,
    ...(hasTag ? { tag } : {}),
    ...(digest === undefined ? {} : { digest: parseDigest(digest) }),
  };
}

/** Parses a reference (OCI distribution specification 1.1, "Pulling manifests"). The registry is never guessed. */
export function parseReference(text: string): Reference {
  const at = text.indexOf('@');
  const named = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  const slash = named.indexOf('/');
  const registry = named.slice(0, Math.max(slash, 0));
  const rest = named.slice(slash + 1);
  const colon = rest.indexOf(':');
  const repository = colon < 0 ? rest : rest.slice(0, colon);
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  const looksLikeHost = /[.:]/.test(registry) || registry === 'localhost';
  if (
    text.length > 512 ||
    !looksLikeHost ||
    !HOST.test(registry) ||
    !URL.canParse(`https://${registry}`) ||
    !REPOSITORY.test(repository) ||
    (tag !== undefined && !TAG.test(tag))
  ) {
    throw ociError('OCI_REFERENCE', 'This is no image reference.', {
      hint: 'Write registry/repository:tag or registry/repository@sha256:…, the registry with its host name.',
    });
  }
  return {
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The reference by digest, as it is pulled and written into orders. */
export function pinned(reference: Reference, digest: Digest): string {
  return `${reference.registry}/${reference.repository}@${digest}`;
}

/** Is this registry on this machine? Only then is it spoken to without TLS. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:\d+$/, '');
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
