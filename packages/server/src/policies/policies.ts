import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type AppraisalPolicy,
  namedSets,
  parsePolicy,
  parseReferenceSet,
  type ReferenceSets,
} from '@kallio/appraisal';
import { canonicalBytes, type Digest, digestOf, KallioError, parseDigest } from '@kallio/codec';
import type { AttesterKind } from '@kallio/protocol';
import type { LogWriter } from '@kallio/tlog';
import type { ServerCode } from '../codes.ts';
import { writeDurably } from '../setup/files.ts';
import type { Layout } from '../setup/layout.ts';
import { readSets, setFile } from '../setup/policy-file.ts';
import { isoTime } from '../time.ts';

/** A policy that was put in force. */
export interface Installed {
  readonly id: string;
  readonly digest: Digest;
  readonly previous?: Digest;
  readonly logIndex: number;
}

/** The appraisal policies in force, by kind of attester, and the reference sets that they name. */
export class Policies {
  readonly #layout: Layout;
  readonly #log: LogWriter;
  readonly #policies: Map<AttesterKind, AppraisalPolicy>;
  #sets: ReferenceSets;
  /** One change at a time: the order in the log is the order in which they came into force. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    layout: Layout,
    log: LogWriter,
    loaded: { readonly policies: ReadonlyMap<AttesterKind, AppraisalPolicy>; readonly sets: ReferenceSets },
  ) {
    this.#layout = layout;
    this.#log = log;
    this.#policies = new Map(loaded.policies);
    this.#sets = loaded.sets;
  }

  /** The policy in force; none where the operator has given none. */
  get(kind: AttesterKind): AppraisalPolicy | undefined {
    return this.#policies.get(kind);
  }

  /** The reference sets of all policies in force. */
  get sets(): ReferenceSets {
    return this.#sets;
  }

  /** Puts a policy document in force. What is wrong with it is refused with its place; the old one then stays. */
  install(kind: AttesterKind, document: unknown, now: Date): Promise<Installed> {
    const policy = parsePolicy(document);
    const change = this.#last.then(() => this.#install(kind, policy, now));
    this.#last = change.catch(() => undefined);
    return change;
  }

  async #install(kind: AttesterKind, policy: AppraisalPolicy, now: Date): Promise<Installed> {
    for (const { digest } of namedSets(policy)) {
      if (this.hasSet(parseDigest(digest))) continue;
      throw new KallioError(
        'POLICY_SET_MISSING' satisfies ServerCode,
        `The policy names the reference set ${digest}, which is not here.`,
        { hint: 'Upload it first. kallio policy set does so with the folder "sets" beside the policy.' },
      );
    }
    // Before anything is written: a policy whose sets can't be read would keep the server from its next start.
    const sets = readSets(policy, this.#layout.policies);
    const bytes = canonicalBytes(policy);
    const digest = digestOf(bytes);
    const before = this.get(kind);
    const previous = before === undefined ? undefined : digestOf(canonicalBytes(before));
    const path = kind === 'builder' ? this.#layout.builderPolicy : this.#layout.devicePolicy;
    // Stops a policy from being loosened for a moment and tightened again with nobody the wiser: it stands in the log
    // before it judges anything. A crash between here and the next step leaves an entry for a change that never came.
    const { logIndex } = await this.#log.add(
      canonicalBytes({
        apiVersion: '0.0.1',
        kind: 'kallio-policy',
        spec: { kind, id: policy.id, policy: digest, previous: previous ?? null, at: isoTime(now.getTime()) },
      }),
    );
    // COMMIT POINT: the next start reads this file.
    writeDurably(path, bytes);
    this.#policies.set(kind, policy);
    this.#sets = new Map([...this.#sets, ...sets]);
    return { id: policy.id, digest, ...(previous === undefined ? {} : { previous }), logIndex };
  }

  /** Is the reference set of this digest here? */
  hasSet(digest: Digest): boolean {
    return existsSync(setFile(this.#layout.policies, digest));
  }

  /** Keeps a reference-set file under its digest; `REFERENCE_SET_MISMATCH`, or what is wrong in it. */
  putSet(expected: Digest, content: Uint8Array): void {
    // Stops reference values from being kept under a digest that somebody else has checked.
    if (digestOf(content) !== expected) {
      throw new KallioError(
        'REFERENCE_SET_MISMATCH' satisfies ServerCode,
        `This file’s SHA-256 is not ${expected}.`,
      );
    }
    parseReferenceSet(content);
    const path = setFile(this.#layout.policies, expected);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // COMMIT POINT: durable before a policy may name it.
    writeDurably(path, content);
  }
}
