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

/** Largest file manifest read, in bytes. */
export const MAX_FILE_MANIFEST = 256 * 1024 * 1024;

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
export function parseFileManifest(bytes: Uint8Array, maxBytes = MAX_FILE_MANIFEST): FileManifest {
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
    for (const { path } of entries) whiteOut(root, path);
    const made = () => budget.entry();
    for (const entry of entries) apply(root, entry, made);
    requireOrder(entries);
  }
  const files: FileEntry[] = [];
  collectFiles(root, '', files);
  files.sort(byPath);
  return { version: 'kallio-file-manifest-v1', files };
}

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** What whiteouts can't hide: the directory that they stand in, and the one above it. */
const NOT_HIDDEN: ReadonlySet<string> = new Set(['', '.', '..']);

function whiteOut(root: Directory, path: string): void {
  const [parents, name] = split(path);
  if (!name.startsWith(WHITEOUT)) return;
  const parent = find(root, parents);
  const hidden = name.slice(WHITEOUT.length);
  // Attack: a whiteout that one runtime takes for nothing, and another for all that stands around it.
  if (NOT_HIDDEN.has(hidden)) throw pathError(path, 'is a whiteout of no name');
  if (parent?.kind !== 'directory') return;
  if (name === OPAQUE) parent.children.clear();
  else parent.children.delete(hidden);
}

/** `made` is told of each directory that no entry names. */
function apply(root: Directory, entry: LayerEntry, made: () => void): void {
  const { path, type, target } = entry;
  const [parents, name] = split(path);
  // Attack: what one runtime passes over, being below a whiteout, and another unpacks.
  if (parents.some((parent) => parent.startsWith(WHITEOUT))) throw pathError(path, 'lies below a whiteout');
  if (path === '') {
    if (type === 'directory') return;
    throw pathError(path, 'is in the place of the root');
  }
  if (name.startsWith(WHITEOUT)) {
    requireNoLink(root, parents);
    return;
  }
  const parent = directory(root, parents, made);
  const there = parent.children.get(name);
  switch (type) {
    case 'directory':
      if (there?.kind !== 'directory') parent.children.set(name, { kind: 'directory', children: new Map() });
      return;
    case 'link':
      parent.children.set(name, linked(root, entry, target ?? ''));
      return;
    default:
      parent.children.set(name, fileOf(entry) ?? { kind: 'other' });
  }
}

/**
 * Attack: a whiteout of what its own layer has. By the specification it hides lower layers only; but runtimes that unpack in
 * order take away what came before it.
 */
function requireOrder(entries: readonly LayerEntry[]): void {
  const hidden = new Map<string, number>();
  for (const [at, { path }] of entries.entries()) {
    const [parents, name] = split(path);
    if (!name.startsWith(WHITEOUT) || name === OPAQUE) continue;
    hidden.set([...parents, name.slice(WHITEOUT.length)].join('/'), at);
  }
  if (hidden.size === 0) return;
  for (const [at, { path }] of entries.entries()) {
    for (let end = path.indexOf('/'); ; end = path.indexOf('/', end + 1)) {
      const whole = end < 0;
      const above = whole ? path : path.slice(0, end);
      if ((hidden.get(above) ?? at) > at) throw layerError(above, 'is taken away by its own layer');
      if (whole) break;
    }
  }
}

/** Attack: a whiteout below a symbolic link, which takes a file elsewhere away, or the link itself. */
function requireNoLink(root: Directory, parents: readonly string[]): void {
  let node: Node | undefined = root;
  for (const part of parents) {
    node = node?.kind === 'directory' ? node.children.get(part) : node;
    if (node === undefined) return;
  }
  if (node.kind !== 'directory') throw notDirectory(parents);
}

/** A hard link is one more name of a file that is there already. */
function linked(root: Directory, { path, mode, uid, gid }: LayerEntry, target: string): Node {
  const node = find(root, partsOf(target));
  // A runtime first takes away what is in the link's place, which must not be what it leads to.
  if (node === undefined || node.kind === 'directory' || `${target}/`.startsWith(`${path}/`)) {
    throw layerError(path, 'is a hard link to no file that is there');
  }
  if (node.kind === 'other') return node;
  // Attack: a link that says set-user-id of a file that does not. Some runtimes take it from here, and some from there.
  const { file } = node;
  if (file.mode !== mode || file.uid !== uid || file.gid !== gid) {
    throw layerError(path, 'is a hard link with another mode or owner than its file');
  }
  return node;
}

function fileOf({ sha256, mode, uid, gid, size }: LayerEntry): Node | undefined {
  return sha256 === undefined ? undefined : { kind: 'file', file: { sha256, mode, uid, gid, size } };
}

function split(path: string): readonly [readonly string[], string] {
  const parts = path.split('/');
  const name = parts.pop() ?? '';
  return [parts, name];
}

function partsOf(path: string): readonly string[] {
  return path === '' ? [] : path.split('/');
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
function directory(root: Directory, parts: readonly string[], made: () => void): Directory {
  let node: Directory = root;
  for (const part of parts) {
    let next: Node | undefined = node.children.get(part);
    if (next === undefined) {
      made();
      next = { kind: 'directory', children: new Map() };
      node.children.set(part, next);
    }
    if (next.kind !== 'directory') throw notDirectory(parts);
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

/** By the bytes of the path. Where no path has a character that UTF-16 writes as two, that is the order of the texts. */
function byPath({ path: a }: FileEntry, { path: b }: FileEntry): number {
  if (PAIRED.test(a) || PAIRED.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : 1;
}

const PAIRED = /[\ud800-\udfff]/;

function notDirectory(parents: readonly string[]): Error {
  return pathError(parents.join('/'), 'is reached through what is no directory');
}

function layerError(path: string, is: string): Error {
  return ociError('OCI_LAYER', `/${path} ${is}.`, { pointer: `/${path}` });
}

function pathError(path: string, is: string): Error {
  return ociError('OCI_LAYER_PATH', `/${path} ${is}.`, { pointer: `/${path}` });
}
