import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Base64, decodeShape, Exact, parseJson } from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { Envelope, Id, sessionClose } from '@kallio/protocol';
import { type Static, Type } from 'typebox';
import { namesIn, readIfThere, removeUnfinished, writeDurably } from './files.ts';

/** Sessions that are kept: more than the server lets one attester have under way. */
const MAX_KEPT = 64;
/** Finished ones among them, whose answer may have got lost on its way. */
const MAX_FINISHED = 8;
/** Questions to close a session that are kept: one more may be on its way while another is asked. */
export const MAX_ASKED = 4;
/** What is read of one session's file: an evidence message has logs of 8 MiB, in base64. */
const MAX_FILE = 256 * 1024 * 1024;

const Messages = Type.Array(EvidenceMessage, { minItems: 1 });
const KeptBuild = Exact({
  /** When it was opened, in milliseconds since 1970 by this machine's clock: for the order among them only. */
  since: Type.Integer({ minimum: 0 }),
  /** The evidence that was shown, opening first, each from before it was sent: the server took what its record names. */
  shown: Messages,
  /**
   * What the server was asked to close it on, each time, the last one last. There from before the question: whichever of
   * them it took, the agent has what it took.
   */
  asked: Type.Optional(Type.Array(sessionClose.body, { maxItems: MAX_ASKED })),
  /** What the TPM signed for the closed session. There from before it is logged: the same signature has one log entry. */
  signed: Type.Optional(
    Exact({
      /** SPKI, DER. */
      publicKey: Base64(256),
      statement: Envelope,
      provenance: Envelope,
    }),
  ),
});
/** A build's session, as far as it has come. */
export type KeptBuild = Static<typeof KeptBuild>;

/** As agents before kept them: all in one file, evidence by session. */
const OldFile = Type.Record(Id, Messages);

/**
 * The sessions of builds that an agent is at, a file each, so that none is in another's way. Each call returns when what
 * it did is on disk.
 */
export class KeptBuilds {
  readonly #folder: string;
  readonly #kept: Map<string, KeptBuild>;
  readonly #finished = new Set<string>();

  private constructor(folder: string, kept: readonly (readonly [string, KeptBuild])[]) {
    this.#folder = folder;
    this.#kept = new Map(kept.toSorted(([, a], [, b]) => a.since - b.since));
  }

  static async load(stateDir: string): Promise<KeptBuilds> {
    const folder = join(stateDir, 'build-sessions');
    await takeOver(join(stateDir, 'build-sessions.json'), folder);
    await removeUnfinished(folder);
    const kept: [string, KeptBuild][] = [];
    for (const name of await namesIn(folder)) {
      const [, session] = /^([A-Za-z0-9_-]{8,64})\.json$/.exec(name) ?? [];
      const bytes = session === undefined ? undefined : await readIfThere(join(folder, name));
      if (session === undefined || bytes === undefined) continue;
      const document = parseJson(bytes, { maxBytes: MAX_FILE });
      kept.push([session, decodeShape(KeptBuild, document, 'AGENT_CONFIG', join(folder, name))]);
    }
    return new KeptBuilds(folder, kept);
  }

  get(session: string): KeptBuild | undefined {
    return this.#kept.get(session);
  }

  /** Keeps how far a session has come. */
  async put(session: string, build: KeptBuild): Promise<void> {
    this.#kept.set(session, build);
    await writeDurably(fileOf(this.#folder, session), JSON.stringify(build));
    // What the server let expire is forgotten here at some time: the oldest first.
    await this.#forgetAll([...this.#kept.keys()].slice(0, -MAX_KEPT));
  }

  /** Notes that a session's signature is logged. It is kept for a while: its build may not have heard of that. */
  async finish(session: string): Promise<void> {
    this.#finished.delete(session);
    this.#finished.add(session);
    await this.#forgetAll([...this.#finished].slice(0, -MAX_FINISHED));
  }

  async forget(session: string): Promise<void> {
    this.#finished.delete(session);
    if (this.#kept.delete(session)) await rm(fileOf(this.#folder, session), { force: true });
  }

  async #forgetAll(sessions: readonly string[]): Promise<void> {
    for (const session of sessions) await this.forget(session);
  }
}

function fileOf(folder: string, session: string): string {
  return join(folder, `${session}.json`);
}

/** Puts what an agent before this one kept into files of their own. */
async function takeOver(old: string, folder: string): Promise<void> {
  const bytes = await readIfThere(old);
  if (bytes === undefined) return;
  const document = parseJson(bytes, { maxBytes: MAX_FILE });
  const sessions = Object.entries(decodeShape(OldFile, document, 'AGENT_CONFIG', old));
  for (const [since, [session, shown]] of sessions.entries()) {
    await writeDurably(fileOf(folder, session), JSON.stringify({ since, shown } satisfies KeptBuild));
  }
  await rm(old);
}
