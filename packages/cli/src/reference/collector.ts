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

  /** `path` as IMA names it, from the root of the file system; `digest` as policies write it. */
  add(path: string, digest: string): void {
    const name = this.#classes.of(path) ?? 'everything else';
    const digests = this.#digests.get(name) ?? new Set();
    this.#digests.set(name, digests.add(digest));
    this.#paths.set(path, digest);
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
      const all = [...digests].sort();
      const files = all.filter((one) => SHA256.test(one));
      if (files.length <= INLINE) return [{ ...common, digests: all }];
      const set = referenceSetOf(
        'file',
        32,
        files.map((one) => fromHex(one, 32)),
      );
      const bytes = set.toBytes();
      const digest = digestOf(bytes);
      sets.set(digest, set);
      const others = all.filter((one) => !SHA256.test(one));
      return [
        {
          ...common,
          ...(others.length === 0 ? {} : { digests: others }),
          sets: [{ name: `${source}: ${name}`.slice(0, 128), digest, bytes: bytes.length }],
        },
      ];
    });
    const counts = new Map([...this.#digests].map(([name, digests]) => [name, digests.size]));
    return { classes, sets, counts };
  }
}

const SHA256 = /^[0-9a-f]{64}$/;

/** `sha256sum` escapes names that would break its lines, and marks such a line. */
function listingLine([path, sha256]: readonly [string, string]): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  return `${escaped === path ? '' : '\\'}${sha256}  ${escaped}\n`;
}
