import { parseJson } from '@kallio/codec';
import { unzipSync } from 'fflate';
import { orchestratorError } from '../error.ts';
import { type AppD, parseAppD } from './appd.ts';

/** Largest package, in bytes. Images are not in it: they are in a registry. */
export const MAX_PACKAGE = 16 * 1024 * 1024;
const MAX_ENTRIES = 256;
const MAX_UNPACKED = 32 * 1024 * 1024;
const MAX_DESCRIPTOR = 1024 * 1024;
const DESCRIPTOR = 'appd.json';

/** The descriptor of a package: a ZIP with `appd.json` at its root. Nothing else in it is unpacked. */
export function readArchive(zip: Uint8Array): AppD {
  let entries = 0;
  let unpacked = 0;
  let descriptors = 0;
  const files = extract(zip, ({ name, originalSize }) => {
    entries += 1;
    unpacked += originalSize;
    // Attack: an archive that is small on the wire and fills memory or disk.
    if (entries > MAX_ENTRIES || unpacked > MAX_UNPACKED) {
      throw orchestratorError(
        'PACKAGE_ARCHIVE',
        `The package holds more than ${MAX_ENTRIES} entries or unpacks to more than ${MAX_UNPACKED} bytes.`,
      );
    }
    // Attack: names that, unpacked by some later reader, land outside its folder.
    if (/^[/\\]|\\|^[A-Za-z]:|(?:^|\/)\.\.(?:\/|$)/.test(name)) {
      throw orchestratorError('PACKAGE_ARCHIVE', 'The package has an entry whose name leaves it.', {
        pointer: name.slice(0, 256),
      });
    }
    if (name !== DESCRIPTOR) return false;
    descriptors += 1;
    // Attack: two descriptors, of which this reader sees one and the next reader the other.
    if (descriptors > 1 || originalSize > MAX_DESCRIPTOR) {
      throw orchestratorError(
        'PACKAGE_ARCHIVE',
        `The package has ${DESCRIPTOR} twice, or one that is too long.`,
      );
    }
    return true;
  });
  const descriptor = files[DESCRIPTOR];
  if (descriptor === undefined) {
    throw orchestratorError('PACKAGE_ARCHIVE', `The package has no ${DESCRIPTOR} at its root.`, {
      hint: 'kallio packages create makes a package from a descriptor.',
    });
  }
  return parseAppD(parseJson(descriptor, { maxBytes: MAX_DESCRIPTOR }));
}

type Filter = (entry: { readonly name: string; readonly originalSize: number }) => boolean;

function extract(zip: Uint8Array, filter: Filter): Readonly<Record<string, Uint8Array>> {
  // A refusal by the filter is ours; whatever else the reader throws means that this is no ZIP.
  let refused: unknown;
  try {
    return unzipSync(zip, {
      filter: (entry) => {
        try {
          return filter(entry);
        } catch (error) {
          refused = error;
          throw error;
        }
      },
    });
  } catch (cause) {
    throw refused ?? orchestratorError('PACKAGE_ARCHIVE', 'The package is no ZIP archive.', { cause });
  }
}
