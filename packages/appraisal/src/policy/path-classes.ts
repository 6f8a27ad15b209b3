import { utf8 } from '@kallio/codec';
import type { PathClass } from './schema.ts';

/** A path as its bytes, and the class it is of. */
interface BytePath {
  readonly bytes: Uint8Array;
  readonly name: string;
}

/** Printable ASCII but for the backslash, by which a name's bytes that are no text are written. */
const PLAIN = /^[ -[\]-~]+$/;
/** Most paths that are compared one after the other. */
const MAX_BYTE_PATHS = 64;
const SLASH = 0x2f;

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
  /** The same by their bytes, folders longest first; absent where only a name's text can tell. */
  readonly #byBytes:
    | { readonly files: readonly BytePath[]; readonly folders: readonly BytePath[] }
    | undefined;

  constructor(classes: readonly Pick<PathClass, 'name' | 'paths'>[]) {
    for (const { name, paths = [] } of classes) {
      for (const path of paths) (path.endsWith('/') ? this.#folders : this.#files).set(path, name);
    }
    const lengths = [...this.#folders.keys()].map((path) => path.length);
    this.#lengths = [...new Set(lengths)].sort((a, b) => b - a);
    this.#others = classes.find(({ paths }) => paths === undefined)?.name;
    const all = [...this.#files.keys(), ...this.#folders.keys()];
    if (all.length <= MAX_BYTE_PATHS && all.every((path) => PLAIN.test(path))) {
      const folders = bytesOf(this.#folders).sort((a, b) => b.bytes.length - a.bytes.length);
      this.#byBytes = { files: bytesOf(this.#files), folders };
    }
  }

  /** Name of the class of every path, where the policy tells no paths apart. */
  get ofAll(): string | undefined {
    return this.#files.size === 0 && this.#folders.size === 0 ? this.#others : undefined;
  }

  /** Whether {@link PathClasses.ofBytes} can be asked. */
  get readsBytes(): boolean {
    return this.#byBytes !== undefined;
  }

  /**
   * As {@link PathClasses.of}, for a name as it stands in an entry: from `start` up to a zero, or to `end`. The paths are
   * plain ASCII, so a name has their bytes where, and only where, its text has their characters.
   */
  ofBytes(data: Uint8Array, start: number, end: number): string | undefined {
    for (const { bytes, name } of this.#byBytes?.files ?? []) {
      const after = start + bytes.length;
      if (begins(data, start, end, bytes) && (after === end || data[after] === 0)) return name;
    }
    for (const { bytes, name } of this.#byBytes?.folders ?? [])
      if (begins(data, start, end, bytes)) return name;
    return this.#others;
  }

  /** Name of the path's class; `undefined` where the policy has none for it. */
  of(path: string): string | undefined {
    const file = this.#files.get(path);
    if (file !== undefined) return file;
    for (const length of this.#lengths) {
      if (path.charCodeAt(length - 1) !== SLASH) continue;
      const folder = this.#folders.get(path.slice(0, length));
      if (folder !== undefined) return folder;
    }
    return this.#others;
  }
}

function bytesOf(paths: ReadonlyMap<string, string>): BytePath[] {
  return Array.from(paths, ([path, name]) => ({ bytes: utf8(path), name }));
}

function begins(data: Uint8Array, start: number, end: number, path: Uint8Array): boolean {
  const last = path.length - 1;
  // Most paths differ in where their folders end.
  if (start + last >= end || data[start + last] !== path[last]) return false;
  for (let i = 0; i < last; i++) if (data[start + i] !== path[i]) return false;
  return true;
}
