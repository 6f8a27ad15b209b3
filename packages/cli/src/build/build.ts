import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canonicalBytes, type Digest, fromBase64 } from '@kallio/codec';
import {
  copyImage,
  FILE_MANIFEST_TYPE,
  fileManifestBytes,
  openLayout,
  parseReference,
  publishReferrer,
  Repository,
} from '@kallio/oci';
import {
  agentSessionAbandon,
  agentSessionClose,
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
  await clock.step('build', () => runBuilder(options, folder, layoutDir), 'builder');
  const layout = await openLayout(layoutDir);
  const built = await clock.step('read what was built', () => readBuilt(layout, `${registry}/${repository}`));
  requirePlatforms(built, options.platforms);
  const signed: Signed[] = [];
  await clock.step('close, sign, log', async () => {
    for (const [at, one] of built.entries()) {
      const session = sessions[at] ?? '';
      const body = { claims: one.claims };
      const closed = await agent.call(agentSessionClose, { params: { session }, body });
      signed.push({ ...one, session, closed });
    }
  });
  const last = signed.at(-1);
  if (last === undefined) throw new Error('a builder leaves at least one image');
  const target = new Repository({ registry, repository });
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
