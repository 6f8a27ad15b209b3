import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canonicalBytes, type Digest, fromBase64 } from '@kallio/codec';
import {
  copyImage,
  FILE_MANIFEST_TYPE,
  fileManifest,
  fileManifestBytes,
  fileManifestDigest,
  openLayout,
  parseReference,
  publishReferrer,
  Repository,
  walkImage,
} from '@kallio/oci';
import { agentSessionAbandon, agentSessionClose, agentSessionOpen, type Client } from '@kallio/protocol';
import { bundleArtifact, type Claims, makeBundle } from '@kallio/signature';
import { withAgent } from '../connect.ts';
import { cliError } from '../output/output.ts';
import { runBuilder } from './builder.ts';

/** Media and artifact type of the raw evidence that travels with an image. */
const EVIDENCE_TYPE = 'application/vnd.kallio.evidence.v1+json';

/** What is built, and how. */
export interface BuildOptions {
  readonly context: string;
  /** `registry/repository:tag`. */
  readonly tag: string;
  /** The trust agent's UNIX socket. */
  readonly agent: string;
  readonly flags: readonly string[];
  /** A shell command that leaves an OCI layout in `$OUT`. Default: buildah. */
  readonly builder?: string;
  readonly say: (line: string) => void;
}

/** How a build went. */
export interface BuildRecord {
  readonly image: string;
  readonly digest: Digest;
  readonly builder: string;
  readonly session: string;
  readonly logIndex: number;
  readonly steps: readonly { readonly name: string; readonly ms: number }[];
  /** What the attestation session cost: every step but the builder's own and the push. */
  readonly sessionMs: number;
}

/**
 * Builds an image inside an attestation session: open, build, read what was built, close on it, push. Whatever fails,
 * the session is given up, nothing is left behind, and nothing was pushed that is not signed.
 */
export async function buildImage(options: BuildOptions): Promise<BuildRecord> {
  const reference = parseReference(options.tag);
  if (reference.digest !== undefined)
    throw cliError('USAGE', 'An image is built under a tag: its digest is not known before.');
  const clock = new Clock(options.say);
  const folder = await mkdtemp(join(tmpdir(), 'kallio-build-'));
  try {
    return await withAgent(options.agent, async (agent) => {
      const { session } = await clock.step('open the session', () => agent.call(agentSessionOpen, {}));
      try {
        return await buildIn(session, agent, folder, options, clock);
      } catch (error) {
        // The server would let it expire; to give it up says that this build came to nothing.
        await agent.call(agentSessionAbandon, { params: { session } }).catch(() => undefined);
        throw error;
      }
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function buildIn(
  session: string,
  agent: Client,
  folder: string,
  options: BuildOptions,
  clock: Clock,
): Promise<BuildRecord> {
  const { registry, repository, tag } = parseReference(options.tag);
  const layoutDir = join(folder, 'layout');
  await clock.step('build', () => runBuilder(options, folder, layoutDir), 'builder');
  const { layout, image, files } = await clock.step('read the image', async () => {
    const opened = await openLayout(layoutDir);
    const [only, ...more] = opened.manifests;
    if (only === undefined || more.length > 0) {
      throw cliError('CLI_BUILDER', 'The builder must leave exactly one image in the layout.');
    }
    const walked = await walkImage(opened, only.digest);
    return { layout: opened, image: walked, files: await fileManifest(opened, walked) };
  });
  const claims: Claims = {
    subject: { name: `${registry}/${repository}`, digest: image.manifest.digest },
    image: image.claims,
    fileManifest: { digest: fileManifestDigest(files), files: files.files.length },
  };
  const closed = await clock.step('close the session, sign, log', () =>
    agent.call(agentSessionClose, { params: { session }, body: { claims } }),
  );
  const target = new Repository({ registry, repository });
  await clock.step(
    'push image, signature, file manifest, evidence',
    async () => {
      // Under its digest first: the tag moves only to an image whose signature is there.
      await copyImage(layout, image, target);
      const bundle = makeBundle(closed.envelope, fromBase64(closed.publicKey), closed.entry);
      await publishReferrer(target, image.manifest, bundleArtifact(bundle));
      await publishReferrer(target, image.manifest, {
        type: FILE_MANIFEST_TYPE,
        bytes: fileManifestBytes(files),
      });
      await publishReferrer(target, image.manifest, {
        type: EVIDENCE_TYPE,
        bytes: canonicalBytes(closed.evidence),
      });
      await target.pushManifest(image.manifest.bytes, image.manifest.mediaType, tag ?? 'latest');
    },
    'push',
  );
  return {
    image: `${registry}/${repository}:${tag ?? 'latest'}`,
    digest: image.manifest.digest,
    builder: closed.record.attester,
    session,
    logIndex: closed.entry.logIndex,
    ...clock.record(),
  };
}

/** Times the steps and tells of them. */
class Clock {
  readonly #say: (line: string) => void;
  readonly #steps: { name: string; ms: number; kind: 'session' | 'builder' | 'push' }[] = [];

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  async step<T>(
    name: string,
    work: () => Promise<T>,
    kind: 'session' | 'builder' | 'push' = 'session',
  ): Promise<T> {
    this.#say(`… ${name}`);
    const started = performance.now();
    const result = await work();
    const ms = Math.round(performance.now() - started);
    this.#steps.push({ name, ms, kind });
    this.#say(`✔ ${name} (${(ms / 1000).toFixed(2)} s)`);
    return result;
  }

  record(): Pick<BuildRecord, 'steps' | 'sessionMs'> {
    const cost = this.#steps.filter(({ kind }) => kind === 'session').reduce((sum, { ms }) => sum + ms, 0);
    return { steps: this.#steps.map(({ name, ms }) => ({ name, ms })), sessionMs: cost };
  }
}
