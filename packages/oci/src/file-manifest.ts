import { canonicalBytes, type Digest, decodeShape, digestOf, Exact, Hex, parseJson } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { ociError } from './error.ts';
import type { LayerEntry, LayerLimits } from './layer.ts';
import type { ImageSource } from './source.ts';
import type { ImageContents } from './walk.ts';

const FileShape = Exact({
  /** Absolute path. */
  path: Type.String({ pattern: '^/', maxLength: 4097 }),
  sha256: Hex(32),
  /** Permission bits, set-id and sticky bits among them. */
  mode: Type.Integer({ minimum: 0, maximum: 0o7777 }),
  uid: Type.Integer({ minimum: 0 }),
  gid: Type.Integer({ minimum: 0 }),
  size: Type.Integer({ minimum: 0 }),
});

/** Every regular file of an image's final file system: the reference values for its instances. */
export const FileManifest = Exact({
  version: Type.Literal('kallio-file-manifest-v1'),
  /** Sorted by the bytes of the path. */
  files: Type.Array(FileShape),
});
export type FileManifest = Static<typeof FileManifest>;
export type FileEntry = Static<typeof FileShape>;

/** Media and artifact type of a file manifest in a registry. */
export const FILE_MANIFEST_TYPE = 'application/vnd.kallio.file-manifest.v1+json';

/** Canonical bytes: what is stored, and hashed into the signature. */
export function fileManifestBytes(manifest: FileManifest): Uint8Array {
  return canonicalBytes(manifest);
}

/** The digest that the image signature names. */
export function fileManifestDigest(manifest: FileManifest): Digest {
  return digestOf(fileManifestBytes(manifest));
}

/** Parses a file manifest from a registry; whose it is, its digest says. */
export function parseFileManifest(bytes: Uint8Array, maxBytes = 256 * 1024 * 1024): FileManifest {
  return decodeShape(
    FileManifest,
    parseJson(bytes, { maxBytes }),
    'FILE_MANIFEST_SHAPE',
    'The file manifest',
  );
}

/** A node of the file system being put together. */
type Node =
  | Directory
  | { readonly kind: 'file'; readonly file: Omit<FileEntry, 'path'> }
  | { readonly kind: 'other' };

interface Directory {
  readonly kind: 'directory';
  readonly children: Map<string, Node>;
}

/**
 * Puts the layers together as a runtime does (image specification 1.1, "Layers": additions, whiteouts, opaque
 * whiteouts, hard links) and lists every regular file. The layers' digests and diff ids are checked on the way.
 */
export async function fileManifest(
  source: ImageSource,
  image: ImageContents,
  limits?: LayerLimits,
): Promise<FileManifest> {
  const root: Directory = { kind: 'directory', children: new Map() };
  // Loaded when layers are read: mostly a file manifest is attached, and nobody needs them to verify an image.
  const { DEFAULT_LIMITS, LayerBudget, readLayer } = await import('./layer.ts');
  const budget = new LayerBudget(limits ?? DEFAULT_LIMITS);
  for (const [index, layer] of image.layers.entries()) {
    const diffId = image.claims.layers[index];
    if (diffId === undefined) throw ociError('OCI_CONFIG', 'A layer has no diff id.');
    const entries: LayerEntry[] = [];
    await readLayer(await source.stream(layer), layer, diffId, budget, (entry) => entries.push(entry));
    // Whiteouts hide what lower layers have, never what their own layer has: they come first.
    for (const entry of entries) whiteOut(root, entry);
    for (const entry of entries) apply(root, entry);
  }
  const files: FileEntry[] = [];
  collectFiles(root, '', files);
  files.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  return { version: 'kallio-file-manifest-v1', files };
}

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';

function whiteOut(root: Directory, { path }: LayerEntry): void {
  const [parents, name] = split(path);
  if (!name.startsWith(WHITEOUT)) return;
  const parent = find(root, parents);
  if (parent?.kind !== 'directory') return;
  if (name === OPAQUE) parent.children.clear();
  else parent.children.delete(name.slice(WHITEOUT.length));
}

function apply(root: Directory, { header, path, sha256 }: LayerEntry): void {
  const [parents, name] = split(path);
  if (path === '' || name.startsWith(WHITEOUT)) return;
  const parent = directory(root, parents);
  const there = parent.children.get(name);
  switch (header.type) {
    case 'directory':
      if (there?.kind !== 'directory') parent.children.set(name, { kind: 'directory', children: new Map() });
      return;
    case 'link': {
      // A hard link is one more name of a file that is there already.
      const target = find(root, cleanParts(header.linkname ?? ''));
      if (target?.kind !== 'file') {
        throw ociError('OCI_LAYER', `The hard link /${path} points to no regular file.`, {
          pointer: `/${path}`,
        });
      }
      parent.children.set(name, target);
      return;
    }
    default:
      parent.children.set(
        name,
        sha256 === undefined ? { kind: 'other' } : { kind: 'file', file: fileOf(header, sha256) },
      );
  }
}

function fileOf(header: LayerEntry['header'], sha256: string): Omit<FileEntry, 'path'> {
  return {
    sha256,
    mode: (header.mode ?? 0) & 0o7777,
    uid: header.uid ?? 0,
    gid: header.gid ?? 0,
    size: header.size ?? 0,
  };
}

function split(path: string): readonly [readonly string[], string] {
  const parts = path.split('/');
  return [parts.slice(0, -1), parts[parts.length - 1] ?? ''];
}

function cleanParts(name: string): string[] {
  return name.split('/').filter((part) => part !== '' && part !== '.');
}

function find(root: Directory, parts: readonly string[]): Node | undefined {
  let node: Node | undefined = root;
  for (const part of parts) {
    if (node?.kind !== 'directory') return undefined;
    node = node.children.get(part);
  }
  return node;
}

/**
 * The directory of an entry. A missing one is made, as runtimes do. One that is a file or link is refused: runtimes
 * disagree on what an entry below a symbolic link means, and a manifest must not depend on which one runs.
 */
function directory(root: Directory, parts: readonly string[]): Directory {
  let node: Directory = root;
  for (const part of parts) {
    const next: Node = node.children.get(part) ?? { kind: 'directory', children: new Map() };
    if (next.kind !== 'directory') {
      throw ociError('OCI_LAYER_PATH', `An entry lies below /${parts.join('/')}, which is no directory.`, {
        pointer: `/${parts.join('/')}`,
      });
    }
    node.children.set(part, next);
    node = next;
  }
  return node;
}

function collectFiles(node: Directory, path: string, files: FileEntry[]): void {
  for (const [name, child] of node.children) {
    const full = `${path}/${name}`;
    if (child.kind === 'directory') collectFiles(child, full, files);
    else if (child.kind === 'file') files.push({ path: full, ...child.file });
  }
}
