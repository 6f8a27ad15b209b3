import { openLayout, writeLayout } from '@kallio/oci';
import { layoutSource, type SignedSource } from '@kallio/signature';

/** An OCI layout on disk, to read images from. */
export async function openFolder(folder: string): Promise<SignedSource> {
  return layoutSource(await openLayout(folder));
}

/** The same to write into. */
export const writeFolder = writeLayout;
