import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { canonicalBytes, type Digest, fromBase64, KallioError } from '@kallio/codec';
import {
  copyImage,
  FILE_MANIFEST_TYPE,
  fileManifestBytes,
  openLayout,
  openRepository,
  parseReference,
  publishReferrer,
  type Repository,
} from '@kallio/oci';
import {
  agentSessionAbandon,
  agentSessionAttest,
  type agentSessionClose,
  agentSessionOpen,
  type Client,
  type Reply,
} from '@kallio/protocol';
import { bundleArtifact, EVIDENCE_TYPE, makeBundle, PROVENANCE_TYPE, proofArtifact } from '@kallio/signature';
import { withAgent } from '../connect.ts';
import { cliError } from '../output/output.ts';
import { runBuilder } from './builder.ts';
import { type Built, readBuilt } from './built.ts';
import { Clock, type Times } from './clock.ts';
import { closeSession } from './closing.ts';

/** What is built, and how. */
export interface BuildOptions {
  readonly context: string;
  /** `registry/repository:tag`. */
  readonly tag: string;
  /** The trust agent's UNIX socket. */
  readonly agent: string;
  readonly flags: readonly string[];
  /** `os/architecture` of each image, where an index over several is built. */
  readonly platforms: readonly string[];
  /** A shell command that leaves an OCI layout in `$OUT`. Default: buildah. */
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
}

/**
 * Builds an image inside an attestation session: open, build, read what was built, close on it, push. A session has
 * one subject, so for several platforms there is one for each image and one for the index, all opened before the
 * build. Whatever fails, the sessions are given up, nothing is left behind, and nothing was pushed that is not signed.
 */
export async function buildImage(options: BuildOptions): Promise<BuildRecord> {
  const reference = parseReference(options.tag);
  if (reference.digest !== undefined)
    throw cliError('USAGE', 'An image is built under a tag: its digest is not known before.');
  if (options.platforms.length === 1)
    throw cliError('USAGE', 'Give every platform of an index, or none for this machine’s image.');
  const clock = new Clock(options.say);
  const folder = await mkdtemp(join(tmpdir(), 'kallio-build-'));
  try {
    return await withAgent(options.agent, async (agent) => {
      const sessions: string[] = [];
      try {
        const count = options.platforms.length === 0 ? 1 : options.platforms.length + 1;
        await clock.step(count === 1 ? 'open the session' : `open ${count} sessions`, async () => {
          while (sessions.length < count) sessions.push((await agent.call(agentSessionOpen, {})).session);
        });
        return await buildIn(sessions, agent, folder, options, clock);
      } catch (error) {
        // The server would let them expire; to give them up says that this build came to nothing.
        for (const session of sessions) {
          await agent.call(agentSessionAbandon, { params: { session } }).catch(() => undefined);
        }
        throw error;
      }
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An image or index that a session has closed on. */
interface Signed extends Built {
  readonly session: string;
  readonly closed: Reply<typeof agentSessionClose>;
}

async function buildIn(
  sessions: readonly string[],
  agent: Client,
  folder: string,
  options: BuildOptions,
  clock: Clock,
): Promise<BuildRecord> {
  const { registry, repository, tag = 'latest' } = parseReference(options.tag);
  const layoutDir = join(folder, 'layout');
  const opened = Date.now();
  await clock.step('build', () => buildAttested(sessions, agent, folder, layoutDir, options), 'builder');
  const layout = await openLayout(layoutDir);
  const built = await clock.step('read what was built', () => readBuilt(layout, `${registry}/${repository}`));
  requirePlatforms(built, options.platforms);
  requireBuiltSince(built, opened, options.reproducible);
  const signed: Signed[] = [];
  await clock.step('close, sign, log', async () => {
    for (const [at, one] of built.entries()) {
      const session = sessions[at] ?? '';
      const closed = await closeSession(agent, session, one.claims, options.say);
      signed.push({ ...one, session, closed });
    }
  });
  const last = signed.at(-1);
  if (last === undefined) throw new Error('a builder leaves at least one image');
  const target = openRepository({ registry, repository });
  await clock.step(
    'push image, signature, file manifest, evidence',
    async () => {
      // Under its digest first: the tag moves only to an image whose signature is there.
      await copyImage(layout, last.manifest, target);
      for (const one of signed) await attach(target, one);
      await target.pushManifest(last.manifest.bytes, last.manifest.mediaType, tag);
    },
    'push',
  );
  return {
    image: `${registry}/${repository}:${tag}`,
    digest: last.manifest.digest,
    builder: last.closed.record.attester,
    session: last.session,
    logIndex: last.closed.entry.logIndex,
    signed: signed.map(recordOf),
    ...clock.times(),
  };
}

/**
 * Runs the builder, and shows evidence of every session meanwhile, as often as was asked for. What the server refuses
 * ends the session: then the builder is stopped, as nothing that it makes would be signed.
 */
async function buildAttested(
  sessions: readonly string[],
  agent: Client,
  folder: string,
  layoutDir: string,
  options: BuildOptions,
): Promise<void> {
  const { attestEvery } = options;
  const ended = new AbortController();
  const refused = new AbortController();
  const building = runBuilder(options, folder, layoutDir, refused.signal).finally(() => ended.abort());
  const attesting = async () => {
    if (attestEvery === undefined) return;
    for (let shown = 0; shown < MAX_SHOWN; shown++) {
      // Ever more seldom, so that what a session can name covers a build of any length.
      const seconds = attestEvery * 2 ** Math.floor(shown / SHOWN_BEFORE_HALF);
      if (!(await pause(seconds * 1000, ended.signal))) return;
      for (const session of sessions) await showEvidence(agent, session, options.say);
    }
  };
  const watched = attesting().catch((error: unknown) => {
    refused.abort();
    throw error;
  });
  const [built, shown] = await Promise.allSettled([building, watched]);
  // The refusal says why the builder was stopped.
  if (shown.status === 'rejected') throw shown.reason;
  if (built.status === 'rejected') throw built.reason;
}

/** Most evidence messages while a build goes on: with the opening and the closing one, what a session can name. */
const MAX_SHOWN = 60;
/** So many are shown before they become half as frequent. */
const SHOWN_BEFORE_HALF = 15;

/** One evidence message of a session. Who can't be reached now is no refusal: the next one shows what was measured. */
async function showEvidence(agent: Client, session: string, say: (line: string) => void): Promise<void> {
  try {
    await agent.call(agentSessionAttest, { params: { session } });
  } catch (error) {
    const away = error instanceof KallioError && /^(?:AGENT|SERVER)_UNREACHABLE$/.test(error.code);
    if (!away) throw error;
    say(`… no evidence in between: ${error.message}`);
  }
}

/** Waits; false when `ended` came first. */
async function pause(ms: number, ended: AbortSignal): Promise<boolean> {
  await wait(ms, undefined, { signal: ended }).catch(() => undefined);
  return !ended.aborted;
}

/** Publishes beside an image what proves it. */
async function attach(target: Repository, { manifest, files, closed }: Signed): Promise<void> {
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
function requirePlatforms(built: readonly Built[], platforms: readonly string[]): void {
  const found = built.flatMap(({ platform }) => (platform === undefined ? [] : [platform]));
  if (platforms.length === 0 && built.length === 1) return;
  if (found.length === platforms.length && found.every((one) => platforms.includes(one))) return;
  throw cliError(
    'CLI_BUILDER',
    `The builder left images for ${found.join(', ')}; sessions were opened for ${platforms.join(', ') || 'one image'}.`,
    `Say --platform ${found.join(',')}: each image, and the index, has a session of its own, opened before the build.`,
  );
}

/** How exactly builders write down the time, in milliseconds. */
const TIME_GRAIN = 1_000;

/**
 * Refuses an image that says it is older than the session: one that lay ready, and was not built between its quotes. It
 * is a guard against accidents (a stale layout, a builder that copies); who controls the build host can write any time.
 * Times of 1970 say nothing: builders that leave the time out write that.
 */
function requireBuiltSince(built: readonly Built[], opened: number, reproducible: boolean): void {
  if (reproducible) return;
  for (const { created, manifest } of built) {
    const time = created === undefined ? 0 : Date.parse(created);
    if (!(time > 0 && time < opened - TIME_GRAIN)) continue;
    throw cliError(
      'BUILD_IMAGE_OLDER',
      `The image ${manifest.digest} says that it was created at ${created}, before the session was opened.`,
      'Was it taken from a cache? Build without one. If the builder sets that time on purpose, say --reproducible.',
    );
  }
}
