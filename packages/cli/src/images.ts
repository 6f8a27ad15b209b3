import { type ImageTarget, openRepository, parseLayoutReference, parseReference } from '@kallio/oci';
import type { SignedSource } from '@kallio/signature';

const LAYOUT = 'oci:';

/** An image as a command line names it: `registry/repository:tag`, or `oci:FOLDER[:TAG]` for an OCI layout on disk. */
export interface NamedImage {
  /** A folder is no registry: nothing is asked of the network. */
  readonly folder?: string;
  /** The tag or digest in it. */
  readonly reference: string;
  open(): Promise<SignedSource>;
  /** Where to write it. */
  openTarget(): Promise<ImageTarget>;
}

/** Parses an image's name; `OCI_REFERENCE`. */
export function namedImage(text: string): NamedImage {
  if (!text.startsWith(LAYOUT)) {
    const reference = parseReference(text);
    return {
      reference: reference.digest ?? reference.tag ?? 'latest',
      open: async () => openRepository(reference),
      openTarget: async () => openRepository(reference),
    };
  }
  const { folder, tag, digest } = parseLayoutReference(text.slice(LAYOUT.length));
  return {
    folder,
    reference: digest ?? tag ?? 'latest',
    // Who asks a registry does without the code for folders.
    open: async () => (await import('./folders.ts')).openFolder(folder),
    openTarget: async () => (await import('./folders.ts')).writeFolder(folder),
  };
}
