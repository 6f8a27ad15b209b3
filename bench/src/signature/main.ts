import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debianPeer } from '@kallio/e2e/peers';
import { FILE_MANIFEST_TYPE, MEDIA, Repository } from '@kallio/oci';
import { BUNDLE_MEDIA_TYPE, PREDICATE_TYPE, verifyBundleWithKey, verifyImage } from '@kallio/signature';
import { pemOf } from '@kallio/tlog';
import { median, type Row } from '../row.ts';
import { BUNDLES, measureCore } from './core.ts';
import { type Document, fallbackOf, referrerOf, type SmallRegistry, serveRegistry } from './registry.ts';
import { makeSigned, type Signed } from './signed.ts';

const KALLIO = fileURLToPath(new URL('../../../packages/cli/bin/kallio.cjs', import.meta.url));
const HOSTILE = fileURLToPath(new URL('./hostile.ts', import.meta.url));
const HUGE = 186_000_000;

/** Verification of image signatures: the core, the command beside cosign, and what hostile somebodies make of it. */
export async function run(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), 'kallio-bench-signature-'));
  try {
    const fleet = await makeSigned(join(dir, 'log'), BUNDLES);
    const [signed] = fleet;
    if (signed === undefined) throw new Error('a fleet has images');
    const file = (name: string, content: string | Uint8Array) => {
      writeFileSync(join(dir, name), content);
      return join(dir, name);
    };
    const files = {
      policy: file('policy.json', JSON.stringify(signed.policy)),
      key: file('signer.pub', pemOf(signed.spki)),
      root: file('root.json', signed.trustedRoot),
      bundle: file('bundle.json', signed.bundle),
    };
    return [
      ...(await measureCore(fleet)),
      ...(await measureRegistry(signed, files, dir)),
      ...(await measureFlood(signed, files.policy)),
      ...measureHuge(signed, files, dir),
    ];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Files {
  readonly policy: string;
  readonly key: string;
  readonly root: string;
}

/** The image in a registry, with bundle and file manifest attached as `kallio build` attaches them. */
function honestRegistry(signed: Signed): Promise<SmallRegistry> {
  const image: Document = { bytes: signed.manifest, mediaType: MEDIA.manifest };
  const bundle = referrerOf(signed.bundle, BUNDLE_MEDIA_TYPE, image);
  const files = referrerOf(signed.fileManifest, FILE_MANIFEST_TYPE, image);
  const blobs = [...signed.blobs, signed.bundle, signed.fileManifest, bundle.empty];
  const tags = new Map([['1', image], fallbackOf(image, [bundle.listing, files.listing])]);
  return serveRegistry(blobs, [image, bundle.document, files.document], tags);
}

async function measureRegistry(signed: Signed, files: Files, dir: string): Promise<Row[]> {
  const registry = await honestRegistry(signed);
  try {
    const repository = new Repository({ registry: registry.host, repository: 'app' });
    const inProcess: number[] = [];
    for (let i = -20; i < 100; i++) {
      const started = performance.now();
      const verdict = await verifyImage('1', repository, signed.policy, new Date());
      if (!verdict.ok) throw new Error(verdict.refusal.code);
      if (i >= 0) inProcess.push(performance.now() - started);
    }
    const figure = median(inProcess);
    const inAgent: Row = {
      name: 'verify an image in a local registry, as an agent does: no start-up',
      figure,
      unit: 'ms',
      beside: 'the bar',
      besideFigure: 10,
      ratio: figure / 10,
      bar: '<= 10 ms',
      holds: figure <= 10,
    };
    return [inAgent, ...(await besideCosign(registry.host, signed, files, dir))];
  } finally {
    await registry.close();
  }
}

async function besideCosign(host: string, signed: Signed, files: Files, dir: string): Promise<Row[]> {
  const peer = await debianPeer('sid', 'cosign');
  if (peer.missing !== undefined) {
    process.stderr.write(`not measured beside cosign 3: ${peer.missing}\n`);
    return [];
  }
  const image = `${host}/app@${signed.digest}`;
  const cosign = [
    ...['verify-attestation', '--key', files.key, '--trusted-root', files.root, '--type', PREDICATE_TYPE],
    ...['--allow-http-registry', image],
  ];
  const kallio = [KALLIO, 'verify', image, '--policy', files.policy];
  const env = { ...process.env, HOME: dir };
  const times: { readonly ours: number[]; readonly theirs: number[] } = { ours: [], theirs: [] };
  for (let round = -2; round < 15; round++) {
    const ours = await timed(process.execPath, kallio, env);
    const theirs = await timed(join(peer.bin, 'cosign'), cosign, env);
    if (round < 0) continue;
    times.ours.push(ours);
    times.theirs.push(theirs);
  }
  const [figure, besideFigure] = [median(times.ours), median(times.theirs)];
  const ratio = figure / besideFigure;
  return [
    {
      name: 'kallio verify, a process from start to end',
      figure,
      unit: 'ms',
      beside: 'cosign of Debian sid, verify-attestation',
      besideFigure,
      ratio,
      bar: 'ratio <= 1.5',
      holds: ratio <= 1.5,
    },
  ];
}

/** 1,000 referrers of a hostile somebody: each looks like a bundle of this image, and none is. */
async function measureFlood(signed: Signed, policy: string): Promise<Row[]> {
  const image: Document = { bytes: signed.manifest, mediaType: MEDIA.manifest };
  const made = Array.from({ length: 1000 }, (_, i) => {
    const bundle = Buffer.concat([signed.bundle, Buffer.from(' '.repeat(i + 1))]);
    return { bundle, ...referrerOf(bundle, BUNDLE_MEDIA_TYPE, image) };
  });
  // Every one is a whole bundle whose last step fails, as the policy is another's: the dearest there is.
  const blobs = [...signed.blobs, ...made.map(({ bundle }) => new Uint8Array(bundle))];
  const listings = made.map(({ listing }) => listing);
  const manifests = [image, ...made.map(({ document }) => document)];
  const registry = await serveRegistry(
    blobs,
    manifests,
    new Map([['1', image], fallbackOf(image, listings)]),
  );
  const strict = `${policy}.strict`;
  writeFileSync(strict, JSON.stringify({ ...signed.policy, builders: ['another'] }));
  try {
    const { code, ms, megabytes } = await hostile(registry.host, strict);
    if (code !== 'IMAGE_TOO_MANY_SIGNATURES') throw new Error(`The flood was answered ${code}.`);
    return [
      limit('1,000 hostile referrers', ms, 'ms', 1000),
      limit('1,000 hostile referrers, memory of the process', megabytes, 'MB', 256),
    ];
  } finally {
    await registry.close();
  }
}

async function hostile(host: string, policy: string) {
  const { stdout } = await finished(process.execPath, [HOSTILE, host, policy], process.env);
  return JSON.parse(stdout) as { code: string; ms: number; megabytes: number };
}

/** A bundle of 186 MB: in memory, and as a file given to the command's own reader. */
function measureHuge(signed: Signed, files: { readonly bundle: string }, dir: string): Row[] {
  const bytes = new Uint8Array(HUGE);
  const started = performance.now();
  let code = 'ACCEPTED';
  try {
    verifyBundleWithKey({
      bundle: bytes,
      publicKey: signed.spki,
      trustedRoot: signed.trustedRoot,
      artifact: signed.digest,
    });
  } catch (error) {
    if (error instanceof Error && 'code' in error) code = String(error.code);
  }
  const ms = performance.now() - started;
  if (code !== 'BUNDLE_TOO_LARGE') throw new Error(`The huge bundle was answered ${code}.`);
  const huge = join(dir, 'huge.json');
  writeFileSync(huge, '{');
  truncateSync(huge, HUGE);
  const command = (bundle: string) =>
    spawnTimed([
      ...[KALLIO, 'bundle', 'verify', '--bundle', bundle, '--key', join(dir, 'signer.pub')],
      ...['--trusted-root', join(dir, 'root.json'), signed.digest],
    ]);
  // The command's start-up is the same for both: what the huge one costs beyond that is its refusal.
  requireRefused([
    ...[KALLIO, 'bundle', 'verify', '--json', '--bundle', huge, '--key', join(dir, 'signer.pub')],
    ...['--trusted-root', join(dir, 'root.json'), signed.digest],
  ]);
  command(files.bundle);
  const honest = median([command(files.bundle), command(files.bundle), command(files.bundle)]);
  const refused = median([command(huge), command(huge), command(huge)]);
  return [
    limit('refuse a bundle of 186 MB', ms, 'ms', 100),
    limit(
      'refuse a bundle file of 186 MB, beyond the command’s start-up',
      Math.max(0, refused - honest),
      'ms',
      100,
    ),
  ];
}

function requireRefused(args: readonly string[]): void {
  const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const { refusal } = JSON.parse(stdout) as { refusal?: { code: string } };
  if (refusal?.code !== 'BUNDLE_TOO_LARGE')
    throw new Error(`The huge bundle file was answered ${refusal?.code}.`);
}

function spawnTimed(args: readonly string[]): number {
  const started = performance.now();
  spawnSync(process.execPath, args, { stdio: 'ignore' });
  return performance.now() - started;
}

function limit(name: string, figure: number, unit: string, most: number): Row {
  return {
    name,
    figure,
    unit,
    beside: 'the bar',
    besideFigure: most,
    ratio: figure / most,
    bar: `<= ${most} ${unit}`,
    holds: figure <= most,
  };
}

/** Runs a program that must succeed; this process goes on serving meanwhile. Milliseconds from start to end. */
async function timed(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const started = performance.now();
  await finished(command, args, env);
  return performance.now() - started;
}

async function finished(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
  const { execFile } = await import('node:child_process');
  return new Promise<{ stdout: string }>((resolve, reject) => {
    execFile(command, args, { env }, (error, stdout, stderr) =>
      error === null ? resolve({ stdout }) : reject(new Error(`${command} failed: ${stderr}`)),
    );
  });
}
