import type { PathClass } from './schema.ts';

/**
 * Finds the class of a path by the longest of its paths that fits. The names come from the attester: what a lookup
 * costs depends on the policy alone.
 */
export class PathClasses {
  readonly #files = new Map<string, string>();
  readonly #folders = new Map<string, string>();
  /** Lengths that folders have, longest first. */
  readonly #lengths: readonly number[];
  readonly #others: string | undefined;

  constructor(classes: readonly Pick<PathClass, 'name' | 'paths'>[]) {
    for (const { name, paths = [] } of classes) {
      for (const path of paths) (path.endsWith('/') ? this.#folders : this.#files).set(path, name);
    }
    const lengths = [...this.#folders.keys()].map((path) => path.length);
    this.#lengths = [...new Set(lengths)].sort((a, b) => b - a);
    this.#others = classes.find(({ paths }) => paths === undefined)?.name;
  }

  /** Name of the class of every path, where the policy tells no paths apart. */
  get ofAll(): string | undefined {
    return this.#files.size === 0 && this.#folders.size === 0 ? this.#others : undefined;
  }

  /** Name of the path's class; `undefined` where the policy has none for it. */
  of(path: string): string | undefined {
    const file = this.#files.get(path);
    if (file !== undefined) return file;
    for (const length of this.#lengths) {
      if (path.charCodeAt(length - 1) !== 0x2f) continue;
      const folder = this.#folders.get(path.slice(0, length));
      if (folder !== undefined) return folder;
    }
    return this.#others;
  }
}
