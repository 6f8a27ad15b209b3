import type { ImageTarget } from '@kallio/oci';
import type { SignedSource } from '@kallio/signature';
import { cliError } from './output/output.ts';

const LAYOUT = 'oci:';

/** An image as a command line names it: `registry/repository:tag`, or `oci:FOLDER` for an OCI layout on disk. */
export interface NamedImage {
  /** A folder is no registry: nothing is asked of the network. */
  readonly folder?: string;
  /** The tag or digest in it. */
  readonly reference: string;
  open(): Promise<SignedSource>;
  /** Where to write it. */
  openTarget(): Promise<ImageTarget>;
}

/** Parses an image's name; `OCI_REFERENCE` and `USAGE`. */
export async function namedImage(text: string): Promise<NamedImage> {
  const [oci, { layoutSource }] = await Promise.all([import('@kallio/oci'), import('@kallio/signature')]);
  if (!text.startsWith(LAYOUT)) {
    const reference = oci.parseReference(text);
    return {
      reference: reference.digest ?? reference.tag ?? 'latest',
      open: async () => new oci.Repository(reference),
      openTarget: async () => new oci.Repository(reference),
    };
  }
  const [folder = '', digest] = text.slice(LAYOUT.length).split('@');
  if (folder === '') throw cliError('USAGE', 'Write oci:FOLDER or oci:FOLDER@sha256:….');
  return {
    folder,
    reference: digest ?? 'latest',
    open: async () => layoutSource(await oci.openLayout(folder)),
    openTarget: () => oci.writeLayout(folder),
  };
}
