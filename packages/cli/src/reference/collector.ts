import { type PathClass, PathClasses, type ReferenceSet, referenceSetOf } from '@kallio/appraisal';
import { type Digest, digestOf, fromHex } from '@kallio/codec';
import { PATH_CLASSES } from './classes.ts';

/** More digests than these go into a file of their own. */
const INLINE = 1024;
/** Most files of one scan: what a policy’s sets can be looked up in at no cost. */
const MAX_FILES = 10_000_000;

/** Reference values of files, as a policy has them, with the files that hold the larger lists. */
export interface CollectedFiles {
  readonly classes: readonly PathClass[];
  readonly sets: ReadonlyMap<Digest, ReferenceSet>;
  /** Digests of each class, by its name. */
  readonly counts: ReadonlyMap<string, number>;
}

/** Gathers digests of files by the class of their path. */
export class Collector {
  readonly #classes = new PathClasses(PATH_CLASSES);
  readonly #digests = new Map<string, Set<string>>();
  readonly #paths = new Map<string, string>();
  /** Digests that were added, the same file twice counting twice. */
  files = 0;

  /** `path` as IMA will name it: from the root of the file system. */
  add(path: string, sha256: string): void {
    const name = this.#classes.of(path) ?? 'everything else';
    const digests = this.#digests.get(name) ?? new Set();
    this.#digests.set(name, digests.add(sha256));
    this.#paths.set(path, sha256);
    if (++this.files > MAX_FILES) throw new RangeError(`More than ${MAX_FILES} files`);
  }

  /** Every path with its digest, as `sha256sum` lists them, sorted by path. */
  listing(): string {
    const lines = [...this.#paths].sort(([a], [b]) => (a < b ? -1 : 1)).map(listingLine);
    return lines.join('');
  }

  collected(source: string): CollectedFiles {
    const sets = new Map<Digest, ReferenceSet>();
    const classes = PATH_CLASSES.flatMap((one): PathClass[] => {
      const digests = this.#digests.get(one.name);
      if (digests === undefined) return [];
      const { name, paths, hostOnly } = one;
      const common = {
        name,
        ...(paths === undefined ? {} : { paths: [...paths] }),
        ...(hostOnly === undefined ? {} : { hostOnly }),
      };
      if (digests.size <= INLINE) return [{ ...common, digests: [...digests].sort() }];
      const set = referenceSetOf(
        'file',
        32,
        Array.from(digests, (digest) => fromHex(digest, 32)),
      );
      const bytes = set.toBytes();
      const digest = digestOf(bytes);
      sets.set(digest, set);
      return [
        { ...common, sets: [{ name: `${source}: ${name}`.slice(0, 128), digest, bytes: bytes.length }] },
      ];
    });
    const counts = new Map([...this.#digests].map(([name, digests]) => [name, digests.size]));
    return { classes, sets, counts };
  }
}

/** `sha256sum` escapes names that would break its lines, and marks such a line. */
function listingLine([path, sha256]: readonly [string, string]): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  return `${escaped === path ? '' : '\\'}${sha256}  ${escaped}\n`;
}
