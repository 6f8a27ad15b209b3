import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  fileManifest,
  type ImageSource,
  openLayout,
  openRepository,
  parseReference,
  walkImage,
} from '@kallio/oci';
import { cliError } from '../output/output.ts';
import { isMeasurable } from './measurable.ts';
import type { Scan } from './take-file.ts';

/** True for a folder that holds an OCI image layout. */
export function isLayout(path: string): boolean {
  return existsSync(join(path, 'oci-layout'));
}

/** Takes the files of an image’s file system: of a layout that holds one, or by its reference in a registry. */
export async function scanImage(image: string, scan: Scan): Promise<string> {
  const { source, reference } = isLayout(image) ? await fromLayout(image) : fromRegistry(image);
  const contents = await walkImage(source, reference);
  const { files } = await fileManifest(source, contents);
  for (const { path, mode, sha256 } of files) {
    if (scan.all || isMeasurable(path, mode)) scan.collector.add(path, sha256);
  }
  if (!scan.all) {
    scan.limits.add(
      'Of an image’s files, those that can’t be executed by mode or name are left out: add --all for every file.',
    );
  }
  return contents.manifest.digest;
}

interface Named {
  readonly source: ImageSource;
  readonly reference: string;
}

async function fromLayout(path: string): Promise<Named> {
  const layout = await openLayout(path);
  const [only, ...more] = layout.manifests;
  if (only === undefined || more.length > 0) {
    throw cliError('CLI_SOURCE', `The layout ${path} holds ${layout.manifests.length} images, not one.`);
  }
  return { source: layout, reference: only.digest };
}

function fromRegistry(image: string): Named {
  const reference = parseReference(image);
  return { source: openRepository(reference), reference: reference.digest ?? reference.tag ?? 'latest' };
}
