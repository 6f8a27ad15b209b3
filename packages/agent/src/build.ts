import { type SessionClaims, verifyEar } from '@kallio/appraisal';
import {
  canonicalDigest,
  type Digest,
  digestOf,
  equalBytes,
  fromBase64,
  KallioError,
  toBase64,
  toHex,
} from '@kallio/codec';
import { type EvidenceMessage, signingKeyQualifyingData } from '@kallio/evidence';
import {
  type agentSessionClose,
  type CallInput,
  type Client,
  logAdd,
  logProof,
  nonceCreate,
  type Reply,
  type SessionRecord,
  SIGNING_PCRS,
  type SigningState,
  sessionAbandon,
  sessionAttest,
  sessionClose,
  sessionCreate,
  sessionOpen,
  sessionShow,
  type TrustBundle,
  trustShow,
} from '@kallio/protocol';
import {
  buildProvenance,
  buildStatement,
  type Claims,
  makeEnvelope,
  PAYLOAD_TYPE,
  paeDigest,
  parseClaims,
  statementDigest,
} from '@kallio/signature';
import { asksAgain, type Connection } from './connection.ts';
import { agentError } from './error.ts';
import type { Question } from './evidence.ts';
import type { TpmIdentity } from './identity/identity.ts';
import { type KeptBuild, KeptBuilds, MAX_ASKED } from './kept-builds.ts';
import { Turns } from './turns.ts';

type Closing = CallInput<typeof sessionClose>['body'];
/** A session that the server has closed, and on what. */
interface Closed {
  readonly record: SessionRecord;
  readonly closing: Closing;
}
type Signed = NonNullable<KeptBuild['signed']>;

/**
 * The attestation sessions of builds, on a build host. They outlive the agent's process, so that a long build survives
 * its restart; whether they outlive the machine's boot is for the server to say, and it says no. Whatever was begun can be
 * asked for again until it has come to its end: each step is on disk before the next one, and done again it comes to the same.
 */
export class BuildSessions {
  readonly #attester: string;
  readonly #connection: Connection;
  readonly #identity: TpmIdentity;
  readonly #turns = new Turns();
  readonly #kept: KeptBuilds;

  private constructor(parts: BuildParts, kept: KeptBuilds) {
    this.#attester = parts.attester;
    this.#connection = parts.connection;
    this.#identity = parts.identity;
    this.#kept = kept;
  }

  static async load(parts: BuildParts): Promise<BuildSessions> {
    return new BuildSessions(parts, await KeptBuilds.load(parts.stateDir));
  }

  /** Opens a session: evidence before the build. `SIGNING_NOT_APPROVED` where what is built could not be signed. */
  async open(): Promise<SessionRecord> {
    // Before anything is built: what can't be signed need not be. In its turn, as a TPM has few places for what that takes.
    await this.#turns.take(() => this.#identity.requireApproval());
    return this.#connection.answering(
      async (client): Promise<Question> => {
        const { session, nonce, from } = await client.call(sessionCreate, {
          body: { purpose: 'image-build' },
        });
        return { purpose: 'session-open', nonce, from, session };
      },
      async (client, evidence, { session = '' }) => {
        const record = await client.call(sessionOpen, { params: { session }, body: { evidence } });
        // COMMIT POINT: durable before the build is told to begin.
        await this.#kept.put(session, { since: Date.now(), shown: [evidence] });
        return record;
      },
    );
  }

  /** Shows evidence while the build goes on. What the server refuses ends the session. */
  attest(session: string): Promise<SessionRecord> {
    return this.#turns.take(() =>
      this.#asking('session-attest', session, {}, async (client, evidence) => {
        const build = this.#build(session);
        const shown = [...build.shown, evidence];
        // COMMIT POINT: durable before the server hears it; the signature must carry what the record names.
        await this.#kept.put(session, { ...build, shown });
        const record = await client.call(sessionAttest, { params: { session }, body: { evidence } });
        await this.#kept.put(session, { ...build, shown: named(record.evidence, shown) });
        return record;
      }),
    );
  }

  /**
   * Closes a session on an image: evidence after the build, the statement signed in the TPM, the signature logged. Asked
   * again, because the answer got lost or a step failed, it goes on from where it was: `BUILD_SESSION_CLOSING` on another image.
   */
  close(session: string, claimed: unknown): Promise<Reply<typeof agentSessionClose>> {
    // The key that is certified must be the one that signs: it is not replaced in between.
    return this.#turns.take(() => this.#close(session, claimed));
  }

  /** The PCR values of this moment, for the operator to approve. */
  async signingState(): Promise<SigningState> {
    const values = await this.#identity.pcrValues(SIGNING_PCRS);
    const pcrs = Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), toHex(value)]));
    return { version: 'kallio-signing-state-v1', pcrs };
  }

  /** A new signing key. What the old one signed verifies as before: each signature's own session vouches for its key. */
  rotateSigningKey(): Promise<{ signingKey: Digest }> {
    return this.#turns.take(async () => {
      await this.#identity.rotateSigningKey();
      return { signingKey: digestOf(this.#identity.signingKey.spki) };
    });
  }

  async #close(session: string, claimed: unknown): Promise<Reply<typeof agentSessionClose>> {
    const claims = parseClaims(claimed);
    const { record, closing } = await this.#closed(session, claims);
    const { issuer, witnesses, ...result } = await this.#claimsOf(record);
    const { shown, signed = await this.#sign(session, claims, record, closing, { issuer, ...result }) } =
      this.#build(session);
    const { publicKey, statement, provenance } = signed;
    const client = await this.#connection.client();
    const logged = async (envelope: Signed['statement']) => ({
      envelope,
      entry: await client.call(logAdd, { body: { envelope, publicKey } }),
    });
    const first = await logged(statement);
    const second = await logged(provenance);
    const witnessed =
      witnesses.length === 0 ? {} : { witnessed: await this.#witnessed(first.entry.logIndex) };
    await this.#kept.finish(session);
    return {
      record,
      publicKey,
      ...first,
      provenance: second,
      ...witnessed,
      evidence: named(record.evidence, [...shown, closing.evidence]),
    };
  }

  /** The session's record once it is closed on these claims, and what the server was asked. */
  async #closed(session: string, claims: Claims): Promise<Closed> {
    const { asked = [] } = this.#build(session);
    const statement = statementDigest(claims);
    const other = asked.find((closing) => closing.statement !== statement);
    if (other !== undefined) {
      throw agentError('BUILD_SESSION_CLOSING', `The session is being closed on ${other.subject}.`, {
        hint: 'A session has one image. Open another one for this.',
      });
    }
    // The server may have heard what was asked before, and the agent not the answer.
    const heard = asked.length === 0 ? undefined : await this.#heard(session);
    if (heard !== undefined) return heard;
    await this.#identity.requireApproval();
    try {
      return await this.#askToClose(session, claims.subject.digest, statement);
    } catch (error) {
      // It heard it just now: the question was on its way for long.
      const late = error instanceof KallioError && error.code === 'SESSION_SUBJECT_SET';
      const answer = late ? await this.#heard(session) : undefined;
      if (answer === undefined) throw error;
      return answer;
    }
  }

  /** What the server closed the session on, if it did, and it was this agent who asked for it. */
  async #heard(session: string): Promise<Closed | undefined> {
    const client = await this.#connection.client();
    const record = await client.call(sessionShow, { params: { session } });
    const { asked = [] } = this.#build(session);
    const closing = asked.find(({ evidence }) => canonicalDigest(evidence) === record.evidence.at(-1));
    return record.state !== 'closed' || closing === undefined ? undefined : { record, closing };
  }

  #askToClose(session: string, subject: Digest, statement: Digest): Promise<Closed> {
    const key = this.#identity.signingKey.public;
    const more = { subject, statement, signingKey: digestOf(key) };
    return this.#asking('session-close', session, more, async (client, evidence, nonce) => {
      const certified = await this.#identity.certifySigningKey(signingKeyQualifyingData({ session, nonce }));
      const certification = { attest: toBase64(certified.attest), signature: toBase64(certified.signature) };
      const closing: Closing = {
        subject,
        statement,
        signingKey: { public: toBase64(key), certification },
        evidence,
      };
      const build = this.#build(session);
      // COMMIT POINT: durable before the server hears it. If it closes the session, and the agent dies, that is no loss.
      await this.#kept.put(session, { ...build, asked: [...(build.asked ?? []), closing].slice(-MAX_ASKED) });
      return { record: await client.call(sessionClose, { params: { session }, body: closing }), closing };
    });
  }

  /** Signs the closed session's statement, and the provenance beside it, in the TPM. */
  async #sign(
    session: string,
    claims: Claims,
    record: SessionRecord,
    { signingKey }: Closing,
    result: SessionClaims & Pick<TrustBundle, 'issuer'>,
  ): Promise<Signed> {
    const identity = this.#identity;
    if (!equalBytes(fromBase64(signingKey.public), identity.signingKey.public)) {
      throw agentError('SIGNING_KEY_REPLACED', 'The key that this session vouches for was replaced since.', {
        hint: 'Build again: the session can’t vouch for another key.',
      });
    }
    const { evidence } = result;
    const statement = buildStatement(claims, {
      session,
      builder: this.#attester,
      tier: result.tier,
      boot: result.boot,
      ...(result.secureBoot === undefined ? {} : { secureBoot: result.secureBoot }),
      ear: record.ear ?? '',
      akCertification: {
        ak: toBase64(identity.akPublic),
        key: signingKey.public,
        certification: signingKey.certification,
      },
      evidence,
    });
    const provenance = buildProvenance(claims, {
      issuer: result.issuer,
      builder: this.#attester,
      session,
      startedOn: record.createdAt,
      finishedOn: record.closedAt ?? record.createdAt,
      evidence,
    });
    const envelope = async (payload: Uint8Array) =>
      makeEnvelope(payload, await identity.sign(paeDigest(PAYLOAD_TYPE, payload)));
    const signed: Signed = {
      publicKey: toBase64(identity.signingKey.spki),
      statement: await envelope(statement),
      provenance: await envelope(provenance),
    };
    // COMMIT POINT: durable before it is logged, so that it is logged once, whoever dies meanwhile.
    await this.#kept.put(session, { ...this.#build(session), signed });
    return signed;
  }

  /** An open session as far as it has come; `BUILD_SESSION_UNKNOWN`. */
  #build(session: string): KeptBuild {
    const build = this.#kept.get(session);
    if (build !== undefined) return build;
    throw agentError('BUILD_SESSION_UNKNOWN', 'This agent has no such session open.', {
      hint: 'It was given up, signed long ago, or opened on another build host. Build again.',
    });
  }

  /** Shows evidence of a session; once more where the server wants another nonce, or to be shown the logs from elsewhere. */
  async #asking<T>(
    purpose: 'session-attest' | 'session-close',
    session: string,
    more: Pick<Question, 'subject' | 'statement' | 'signingKey'>,
    answer: (client: Client, evidence: EvidenceMessage, nonce: string) => Promise<T>,
  ): Promise<T> {
    this.#build(session);
    const once = () =>
      this.#connection.answering(
        async (client): Promise<Question> => {
          const { nonce, from } = await client.call(nonceCreate, {
            body: { attester: this.#attester, purpose, session },
          });
          return { purpose, nonce, from, session, ...more };
        },
        (client, evidence, { nonce }) => answer(client, evidence, nonce),
      );
    try {
      return await once();
    } catch (error) {
      if (!asksAgain(error)) throw error;
      return once();
    }
  }

  /** A proof of a log entry under a head that the log's witnesses were shown. */
  async #witnessed(index: number): Promise<string> {
    const client = await this.#connection.client();
    return (await client.call(logProof, { params: { index } })).proof;
  }

  /** What the closed session's result says: what the statement repeats for readers that know no EAR. */
  async #claimsOf(
    record: SessionRecord,
  ): Promise<SessionClaims & Pick<TrustBundle, 'issuer'> & Pick<TrustBundle['log'], 'witnesses'>> {
    const client = await this.#connection.client();
    const { issuer, jwks, log } = await client.call(trustShow, {});
    const { session } = await verifyEar(record.ear ?? '', { issuer, jwks }, new Date());
    if (session === undefined)
      throw agentError('BUILD_CLAIMS', 'The session’s result says nothing of a session.');
    return { ...session, issuer, witnesses: log.witnesses };
  }

  /** Gives a session up. One that the server has ended already is given up as well. */
  abandon(session: string): Promise<void> {
    // In its turn: a closing that is under way comes to its end first, and does not bring back what was given up.
    return this.#turns.take(async () => {
      await this.#kept.forget(session);
      const client = await this.#connection.client();
      try {
        await client.call(sessionAbandon, { params: { session } });
      } catch (error) {
        if (!(error instanceof KallioError) || error.code !== 'SESSION_NOT_OPEN') throw error;
      }
    });
  }
}

/** What build sessions work with. */
interface BuildParts {
  readonly attester: string;
  readonly stateDir: string;
  readonly connection: Connection;
  readonly identity: TpmIdentity;
}

/** The messages that a record names, in its order. */
function named(digests: readonly string[], messages: readonly EvidenceMessage[]): EvidenceMessage[] {
  const byDigest = new Map(messages.map((message) => [canonicalDigest(message) as string, message]));
  return digests.map((digest) => {
    const message = byDigest.get(digest);
    if (message !== undefined) return message;
    throw agentError(
      'BUILD_CLAIMS',
      `The session’s record names evidence that this agent does not have: ${digest}.`,
    );
  });
}
