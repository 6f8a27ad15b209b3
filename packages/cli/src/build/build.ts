import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { canonicalBytes, type Digest, fromBase64 } from '@kallio/codec';
import {
  copyImage,
  FILE_MANIFEST_TYPE,
  fileManifestBytes,
  type ImageTarget,
  openRepository,
  parseReference,
  publishReferrer,
} from '@kallio/oci';
import type { agentSessionClose, Client, Reply } from '@kallio/protocol';
import { bundleArtifact, EVIDENCE_TYPE, makeBundle, PROVENANCE_TYPE, proofArtifact } from '@kallio/signature';
import { withAgent } from '../connect.ts';
import { cliError } from '../output/output.ts';
import { runBuilder } from './builder.ts';
import { type Built, type LeftOut, openBuilt, readBuilt } from './built.ts';
import { Clock, type Times } from './clock.ts';
import { closeSession } from './closing.ts';
import { guardedLayout, guardedTarget } from './guard.ts';
import { interruptible } from './interrupt.ts';
import { withScratch } from './scratch.ts';
import { Sessions } from './sessions.ts';

/** What is built, and how. */
export interface BuildOptions {
  readonly context: string;
  /** `registry/repository:tag`. */
  readonly tag: string;
  /** The trust agent's UNIX socket. */
  readonly agent: string;
  readonly flags: readonly string[];
  /** The platform of each image, by its name. None: whatever the builder builds for, which is mostly this machine. */
  readonly platforms: readonly string[];
  /** An index over them is built, and not one image. */
  readonly index: boolean;
  /** A shell command that leaves an OCI layout at `$OUT`. Default: buildah. */
  readonly builder?: string;
  /** The builder sets times of the past by design, so that the same source gives the same image. */
  readonly reproducible: boolean;
  /** Show evidence so often while the builder runs, in seconds. */
  readonly attestEvery?: number;
  readonly say: (line: string) => void;
}

/** One signed image of a build, or the signed index over all. */
interface SignedRecord {
  readonly digest: Digest;
  /** Absent for the index. */
  readonly platform?: string;
  readonly session: string;
  readonly logIndex: number;
}

/** How a build went. */
export interface BuildRecord extends Times {
  readonly image: string;
  /** What the tag names: the image, or the index. */
  readonly digest: Digest;
  readonly builder: string;
  readonly session: string;
  readonly logIndex: number;
  /** Everything that was signed. */
  readonly signed: readonly SignedRecord[];
  /** An index that the builder put around the one image, and that was not pushed. */
  readonly leftOut?: LeftOut;
}

/**
 * Builds an image inside an attestation session: open, build, read what was built, close on it, push. A session has
 * one subject, so for an index there is one for each image and one for itself, all opened before the build. Whatever fails,
 * and whenever a signal ends it, the sessions are given up, nothing is left behind on this machine, and the tag names nothing
 * that is not signed.
 */
export async function buildImage(options: BuildOptions): Promise<BuildRecord> {
  const reference = parseReference(options.tag);
  if (reference.digest !== undefined)
    throw cliError('USAGE', 'An image is built under a tag: its digest is not known before.');
  const { say } = options;
  return interruptible((stop) =>
    withScratch(say, (folder) =>
      withAgent(options.agent, async (agent) => {
        const sessions = new Sessions(agent, stop, say);
        const build = { options, folder, agent, sessions, stop, clock: new Clock(say, stop) };
        try {
          return await buildIn(build);
        } catch (error) {
          await sessions.giveUp();
          throw error;
        }
      }),
    ),
  );
}

/** A build under way. */
interface Build {
  readonly options: BuildOptions;
  /** A folder of its own, for as long as it lasts. */
  readonly folder: string;
  readonly agent: Client;
  readonly sessions: Sessions;
  readonly clock: Clock;
  /** Calls it off. */
  readonly stop: AbortSignal;
}

/** An image or index that a session has closed on. */
interface Signed extends Built {
  readonly session: string;
  readonly closed: Reply<typeof agentSessionClose>;
}

async function buildIn(build: Build): Promise<BuildRecord> {
  const { options, folder, clock, stop } = build;
  const { platforms, index } = options;
  const { registry, repository, tag = 'latest' } = parseReference(options.tag);
  const name = `${registry}/${repository}`;
  const out = join(folder, 'out');
  const count = index ? Math.max(platforms.length, 1) + 1 : 1;
  const opened = await clock.step(count === 1 ? 'open the session' : `open ${count} sessions`, async () => {
    const ids: string[] = [];
    while (ids.length < count) ids.push(await build.sessions.open());
    return ids;
  });
  const since = Date.now();
  await buildAttested(build, opened, out);
  const { layout, built, ...beside } = await clock.step('read what was built', async () => {
    const guarded = guardedLayout(await openBuilt(out, folder, stop), stop);
    return { layout: guarded, ...(await readBuilt(guarded, name, index ? 'index' : 'image')) };
  });
  requirePlatforms(built, options);
  requireBuiltSince(built, since, options.reproducible);
  const signed = await clock.step('close, sign, log', () => closeOn(build, opened, built));
  const last = signed.at(-1);
  if (last === undefined) throw new Error('a builder leaves at least one image');
  const target = guardedTarget(openRepository({ registry, repository }), stop);
  // Under its digest first: the tag moves only to an image whose signature is there.
  await clock.step('push image', () => copyImage(layout, last.manifest, target), 'push');
  await clock.step('push signature, file manifest, evidence', async () => {
    for (const one of signed) await attach(target, one);
    await target.settle();
  });
  const { bytes, mediaType, digest } = last.manifest;
  await clock.step('move the tag', () => target.pushManifest(bytes, mediaType, tag), 'push');
  return {
    image: `${name}:${tag}`,
    digest,
    builder: last.closed.record.attester,
    session: last.session,
    logIndex: last.closed.entry.logIndex,
    signed: signed.map(recordOf),
    ...beside,
    ...clock.times(),
  };
}

/** Closes each session on one of what was built. What fails at a later one leaves those before it signed and logged. */
async function closeOn(
  { agent, options, stop }: Build,
  sessions: readonly string[],
  built: readonly Built[],
): Promise<readonly Signed[]> {
  const signed: Signed[] = [];
  for (const [at, one] of built.entries()) {
    const session = sessions[at] ?? '';
    const closed = await closeSession(agent, session, one.claims, options.say, stop);
    signed.push({ ...one, session, closed });
  }
  return signed;
}

/**
 * Runs the builder, and shows evidence of every session meanwhile, as often as was asked for. What the server refuses
 * ends the session: then the builder is stopped, as nothing that it makes would be signed.
 */
async function buildAttested(
  { options, folder, sessions, clock, stop }: Build,
  opened: readonly string[],
  out: string,
): Promise<void> {
  const { attestEvery } = options;
  const ended = new AbortController();
  const refused = new AbortController();
  const either = AbortSignal.any([stop, refused.signal]);
  const building = clock
    .own('build', () => runBuilder(options, folder, out, either), 'builder')
    .finally(() => ended.abort());
  const over = AbortSignal.any([stop, ended.signal]);
  let spent = 0;
  const attesting = async () => {
    if (attestEvery === undefined) return;
    for (let shown = 0; shown < MAX_SHOWN; shown++) {
      // Ever more seldom, so that what a session can name covers a build of any length.
      const seconds = attestEvery * 2 ** Math.floor(shown / SHOWN_BEFORE_HALF);
      if (!(await pause(seconds * 1000, over))) return;
      const began = performance.now();
      for (const session of opened) await sessions.show(session);
      spent += performance.now() - began;
    }
  };
  const watched = attesting().catch((error: unknown) => {
    refused.abort(error);
    throw error;
  });
  const [built, shown] = await Promise.allSettled([building, watched]);
  clock.meanwhile('evidence while it was built', spent);
  // The refusal says why the builder was stopped.
  if (shown.status === 'rejected') throw shown.reason;
  if (built.status === 'rejected') throw built.reason;
}

/** Most evidence messages while a build goes on: with the opening and the closing one, what a session can name. */
const MAX_SHOWN = 60;
/** So many are shown before they become half as frequent. */
const SHOWN_BEFORE_HALF = 15;

/** Waits; false when `ended` came first. */
async function pause(ms: number, ended: AbortSignal): Promise<boolean> {
  await wait(ms, undefined, { signal: ended }).catch(() => undefined);
  return !ended.aborted;
}

/** Publishes beside an image what proves it. */
async function attach(target: ImageTarget, { manifest, files, closed }: Signed): Promise<void> {
  const key = fromBase64(closed.publicKey);
  const { provenance } = closed;
  await publishReferrer(target, manifest, bundleArtifact(makeBundle(closed.envelope, key, closed.entry)));
  const slsa = makeBundle(provenance.envelope, key, provenance.entry);
  await publishReferrer(target, manifest, bundleArtifact(slsa, PROVENANCE_TYPE));
  if (closed.witnessed !== undefined) {
    await publishReferrer(target, manifest, proofArtifact(closed.witnessed));
  }
  if (files !== undefined) {
    await publishReferrer(target, manifest, { type: FILE_MANIFEST_TYPE, bytes: fileManifestBytes(files) });
  }
  await publishReferrer(target, manifest, { type: EVIDENCE_TYPE, bytes: canonicalBytes(closed.evidence) });
}

function recordOf({ manifest, platform, session, closed }: Signed): SignedRecord {
  return {
    digest: manifest.digest,
    ...(platform === undefined ? {} : { platform }),
    session,
    logIndex: closed.entry.logIndex,
  };
}

/** Sessions were opened for these platforms before the build: none can be opened for another afterwards. */
function requirePlatforms(built: readonly Built[], { platforms, index }: BuildOptions): void {
  const found = built.flatMap(({ platform }) => (platform === undefined ? [] : [platform]));
  // Of what it is for the image itself says, where nobody asked for anything.
  if (platforms.length === 0 && found.length === 1) return;
  if (found.length === platforms.length && found.every((one) => platforms.includes(one))) return;
  throw cliError(
    'CLI_BUILDER',
    `The builder left images for ${found.join(', ')}; sessions were opened for ${platforms.join(', ') || 'one image'}.`,
    `Say --platform ${found.join(',')}${index && found.length === 1 ? ' --index' : ''}: each image, and the index, has a session of its own, opened before the build.`,
  );
}

/** How exactly builders write down the time, in milliseconds. */
const TIME_GRAIN = 1_000;
/** RFC 3339, as image configurations write times (image specification 1.1, "Image Configuration"). */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;

/**
 * Refuses an image that says it is older than the session: one that lay ready, and was not built between its quotes; and one
 * that doesn't say. It is a guard against accidents (a stale layout, a builder that copies); who controls the build host can
 * write any time.
 */
function requireBuiltSince(built: readonly Built[], since: number, reproducible: boolean): void {
  if (reproducible) return;
  for (const { created, files, manifest } of built) {
    // An index has no time of its own.
    if (files === undefined) continue;
    const time = created !== undefined && TIME.test(created) ? Date.parse(created) : Number.NaN;
    // Builders that leave the time out write the beginning of 1970, or of all years.
    if (!(time > 0)) {
      throw cliError(
        'BUILD_IMAGE_TIME',
        `The image ${manifest.digest} does not say when it was created${created === undefined ? '' : ` (${created})`}.`,
        'So nothing shows that it was built just now. If the builder leaves the time out on purpose, say --reproducible.',
      );
    }
    if (time >= since - TIME_GRAIN) continue;
    throw cliError(
      'BUILD_IMAGE_OLDER',
      `The image ${manifest.digest} says that it was created at ${created}, before the session was opened.`,
      'Was it taken from a cache? Build without one. If the builder sets that time on purpose, say --reproducible.',
    );
  }
}
