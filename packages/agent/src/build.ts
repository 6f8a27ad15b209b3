import { join } from 'node:path';
import { type SessionClaims, verifyEar } from '@kallio/appraisal';
import { type Digest, decodeShape, digestOf, KallioError, parseJson, toBase64, toHex } from '@kallio/codec';
import { EvidenceMessage, signingKeyQualifyingData } from '@kallio/evidence';
import {
  type agentSessionClose,
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
  type TrustBundle,
  trustShow,
} from '@kallio/protocol';
import {
  buildProvenance,
  buildStatement,
  makeEnvelope,
  PAYLOAD_TYPE,
  paeDigest,
  parseClaims,
  statementDigest,
} from '@kallio/signature';
import { Type } from 'typebox';
import type { Connection } from './connection.ts';
import { agentError } from './error.ts';
import type { Question } from './evidence.ts';
import { readIfThere, writeDurably } from './files.ts';
import type { TpmIdentity } from './identity/identity.ts';
import { Turns } from './turns.ts';

/** Sessions that are kept: more than the server lets one attester have under way. */
const MAX_OPEN = 64;
const OpenFile = Type.Record(Type.String(), Type.Array(EvidenceMessage, { minItems: 1, maxItems: 64 }));

/**
 * The attestation sessions of builds, on a build host. They outlive the agent's process, so that a long build survives
 * its restart; whether they outlive the machine's boot is for the server to say, and it says no.
 */
export class BuildSessions {
  readonly #attester: string;
  readonly #connection: Connection;
  readonly #identity: TpmIdentity;
  readonly #file: string;
  readonly #turns = new Turns();
  /** Evidence by session, opening first. */
  readonly #open: Map<string, readonly EvidenceMessage[]>;

  private constructor(parts: BuildParts, open: Readonly<Record<string, readonly EvidenceMessage[]>>) {
    this.#attester = parts.attester;
    this.#connection = parts.connection;
    this.#identity = parts.identity;
    this.#file = fileIn(parts.stateDir);
    this.#open = new Map(Object.entries(open));
  }

  static async load(parts: BuildParts): Promise<BuildSessions> {
    const bytes = await readIfThere(fileIn(parts.stateDir));
    return new BuildSessions(
      parts,
      bytes === undefined
        ? {}
        : decodeShape(OpenFile, parseJson(bytes), 'AGENT_CONFIG', 'build-sessions.json'),
    );
  }

  /** Opens a session: evidence before the build. */
  open(): Promise<SessionRecord> {
    return this.#connection.answering(
      async (client): Promise<Question> => {
        const { session, nonce, from } = await client.call(sessionCreate, {
          body: { purpose: 'image-build' },
        });
        return { purpose: 'session-open', nonce, from, session };
      },
      async (client, evidence, { session = '' }) => {
        const record = await client.call(sessionOpen, { params: { session }, body: { evidence } });
        this.#open.set(session, [evidence]);
        // COMMIT POINT: durable before the build is told to begin.
        await this.#save();
        return record;
      },
    );
  }

  /** Shows evidence while the build goes on. What the server refuses ends the session. */
  attest(session: string): Promise<SessionRecord> {
    return this.#turns.take(async () => {
      const shown = this.#shown(session);
      return this.#connection.answering(
        async (client): Promise<Question> => {
          const purpose = 'session-attest' as const;
          const { nonce, from } = await client.call(nonceCreate, {
            body: { attester: this.#attester, purpose, session },
          });
          return { purpose, nonce, from, session };
        },
        async (client, evidence) => {
          const record = await client.call(sessionAttest, { params: { session }, body: { evidence } });
          this.#open.set(session, [...shown, evidence]);
          // COMMIT POINT: durable before it is told; the signature must carry what the record names.
          await this.#save();
          return record;
        },
      );
    });
  }

  /** Closes a session on an image: evidence after the build, the statement signed in the TPM, the signature logged. */
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
    const shown = this.#shown(session);
    const claims = parseClaims(claimed);
    const identity = this.#identity;
    const statement = statementDigest(claims);
    const certifiedKey = identity.signingKey.public;
    const { record, closing, certification } = await this.#connection.answering(
      async (client): Promise<Question> => {
        const { nonce, from } = await client.call(nonceCreate, {
          body: { attester: this.#attester, purpose: 'session-close', session },
        });
        const subject = claims.subject.digest;
        return {
          purpose: 'session-close',
          nonce,
          from,
          session,
          subject,
          statement,
          signingKey: digestOf(certifiedKey),
        };
      },
      async (client, evidence, { nonce }) => {
        const certified = await identity.certifySigningKey(signingKeyQualifyingData({ session, nonce }));
        const made = { attest: toBase64(certified.attest), signature: toBase64(certified.signature) };
        const closed = await client.call(sessionClose, {
          params: { session },
          body: {
            subject: claims.subject.digest,
            statement,
            signingKey: { public: toBase64(certifiedKey), certification: made },
            evidence,
          },
        });
        return { record: closed, closing: evidence, certification: made };
      },
    );
    await this.#forget(session);
    const evidence = [...shown, closing];
    const result = await this.#claimsOf(record);
    const payload = buildStatement(claims, {
      session,
      builder: this.#attester,
      tier: result.tier,
      boot: result.boot,
      ...(result.secureBoot === undefined ? {} : { secureBoot: result.secureBoot }),
      ear: record.ear ?? '',
      akCertification: { ak: toBase64(identity.akPublic), key: toBase64(certifiedKey), certification },
      evidence: result.evidence,
    });
    const provenance = buildProvenance(claims, {
      issuer: result.issuer,
      builder: this.#attester,
      session,
      startedOn: record.createdAt,
      finishedOn: record.closedAt ?? record.createdAt,
      evidence: result.evidence,
    });
    const publicKey = toBase64(identity.signingKey.spki);
    const signed = await this.#signAndLog(payload, publicKey);
    return {
      record,
      publicKey,
      ...signed,
      provenance: await this.#signAndLog(provenance, publicKey),
      ...(result.witnesses.length === 0 ? {} : { witnessed: await this.#witnessed(signed.entry.logIndex) }),
      evidence,
    };
  }

  /** The evidence of an open session so far; `BUILD_SESSION_UNKNOWN`. */
  #shown(session: string): readonly EvidenceMessage[] {
    const shown = this.#open.get(session);
    if (shown !== undefined) return shown;
    throw agentError('BUILD_SESSION_UNKNOWN', 'This agent has no such session open.', {
      hint: 'It was closed or given up, or opened on another build host. Build again.',
    });
  }

  /** Signs a statement in the TPM, and logs the signature. */
  async #signAndLog(payload: Uint8Array, publicKey: string) {
    const signature = await this.#identity.sign(paeDigest(PAYLOAD_TYPE, payload));
    const envelope = makeEnvelope(payload, signature);
    const client = await this.#connection.client();
    return { envelope, entry: await client.call(logAdd, { body: { envelope, publicKey } }) };
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
  async abandon(session: string): Promise<void> {
    await this.#forget(session);
    const client = await this.#connection.client();
    try {
      await client.call(sessionAbandon, { params: { session } });
    } catch (error) {
      if (!(error instanceof KallioError) || error.code !== 'SESSION_NOT_OPEN') throw error;
    }
  }

  async #forget(session: string): Promise<void> {
    if (this.#open.delete(session)) await this.#save();
  }

  #save(): Promise<void> {
    // What the server let expire is forgotten here at some time: the oldest first.
    for (const oldest of [...this.#open.keys()].slice(0, -MAX_OPEN)) this.#open.delete(oldest);
    return writeDurably(this.#file, JSON.stringify(Object.fromEntries(this.#open)));
  }
}

/** What build sessions work with. */
interface BuildParts {
  readonly attester: string;
  readonly stateDir: string;
  readonly connection: Connection;
  readonly identity: TpmIdentity;
}

function fileIn(stateDir: string): string {
  return join(stateDir, 'build-sessions.json');
}
