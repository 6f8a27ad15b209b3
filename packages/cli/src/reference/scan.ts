import { existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { readBounded } from '../files.ts';
import { cliError } from '../output/output.ts';
import { type CollectedFiles, Collector } from './collector.ts';
import { installedPackages } from './dpkg.ts';
import type { ReferenceFile, Source } from './fragment.ts';
import { isLayout, scanImage } from './image.ts';
import { packageFiles, scanPackage } from './packages.ts';
import { type Skipped, scanRoot } from './root.ts';
import type { Scan } from './take-file.ts';

/** What a source of reference values is. */
export type SourceKind = 'root' | 'packages' | 'image';

export interface ScanOptions {
  /** What the sources are, where it can’t be told. */
  readonly as?: SourceKind;
  readonly all: boolean;
  readonly mounts: boolean;
  readonly progress: (line: string) => void;
}

/** What a scan came to. */
export interface ScanOutcome extends CollectedFiles {
  readonly file: ReferenceFile;
  /** As sha256sum lists them. */
  readonly listing: string;
  readonly skipped: readonly Skipped[];
  readonly files: number;
}

const MAX_STATUS = 256 * 1024 * 1024;
const EVERY_MS = 1000;

/** Scans sources of reference values: root file systems, Debian packages, OCI images. */
export async function scanSources(names: readonly string[], options: ScanOptions): Promise<ScanOutcome> {
  const scan: Scan = { collector: new Collector(), all: options.all, limits: new Set() };
  const sources: Source[] = [];
  const skipped: Skipped[] = [];
  const tell = everySecond(options.progress);
  for (const name of names) {
    const kind = options.as ?? (await kindOf(name));
    if (kind === 'image') {
      options.progress(`${name}: an image`);
      sources.push({ kind, name, digest: await scanImage(name, scan) });
    } else if (kind === 'packages') {
      const packages: string[] = [];
      for (const path of await packageFiles(name)) {
        packages.push(await scanPackage(path, scan));
        tell(() => `${packages.length} packages, ${scan.collector.files} files: ${basename(path)}`);
      }
      if (packages.length === 0) throw cliError('CLI_SOURCE', `There is no .deb file in ${name}.`);
      sources.push({ kind, name: resolve(name), packages: packages.sort() });
      scan.limits.add(
        'What packages make when they are installed (by their scripts, by triggers) is not in them.',
      );
    } else {
      const progress = (files: number, bytes: number, path: string) =>
        tell(() => `${files} files, ${Math.round(bytes / 1e6)} MB: ${path}`);
      skipped.push(...(await scanRoot(name, scan, { mounts: options.mounts, progress })));
      sources.push({ kind, name: resolve(name), ...dpkgOf(name) });
    }
  }
  if (scan.collector.files === 0) {
    throw cliError('CLI_SOURCE', 'Nothing that IMA would measure was found.', 'Add --all for every file.');
  }
  const collected = scan.collector.collected(sources.map(({ name }) => basename(name)).join(', '));
  return {
    ...collected,
    file: {
      references: 'kallio-references-v1',
      sources,
      reference: { ima: { classes: [...collected.classes] } },
      limits: [...scan.limits, ...LIMITS],
    },
    listing: scan.collector.listing(),
    skipped,
    files: scan.collector.files,
  };
}

const LIMITS: readonly string[] = [
  'Files of the initial RAM disk have other names there: scan it unpacked, or learn from an attester.',
  'Digests are SHA-256 of files’ bytes: for a kernel that measures by another hash (ima_hash) or by fs-verity there are none.',
];

/** The folder’s shape tells what it is; what is no file at all is taken for an image in a registry. */
async function kindOf(name: string): Promise<SourceKind> {
  if (!existsSync(name)) return 'image';
  if (!statSync(name).isDirectory()) {
    if (name.endsWith('.deb')) return 'packages';
    throw cliError('CLI_SOURCE', `${name} is neither a folder nor a .deb file.`, 'Mount or unpack it first.');
  }
  if (isLayout(name)) return 'image';
  const names = await readdir(name);
  const hasPackages = names.some((one) => one.endsWith('.deb'));
  const hasSystem = names.some((one) => one === 'usr' || one === 'bin' || one === 'etc');
  return hasPackages && !hasSystem ? 'packages' : 'root';
}

/** Names and versions, where the root is a Debian system’s. */
function dpkgOf(root: string): Pick<Source, 'packages'> {
  const status = join(root, 'var/lib/dpkg/status');
  if (!existsSync(status)) return {};
  return { packages: installedPackages(Buffer.from(readBounded(status, MAX_STATUS)).toString('utf8')) };
}

function everySecond(progress: (line: string) => void): (line: () => string) => void {
  let next = performance.now() + EVERY_MS;
  return (line) => {
    const now = performance.now();
    if (now < next) return;
    next = now + EVERY_MS;
    progress(line());
  };
}
