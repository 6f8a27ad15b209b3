import { type SessionClaims, verifyEar } from '@kallio/appraisal';
import { digestOf, toBase64 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import {
  type agentSessionClose,
  logAdd,
  nonceCreate,
  type Reply,
  type SessionRecord,
  sessionClose,
  sessionCreate,
  sessionOpen,
  signingKeyQualifyingData,
  trustShow,
} from '@kallio/protocol';
import { buildStatement, makeEnvelope, PAYLOAD_TYPE, paeDigest, statementDigest } from '@kallio/signature';
import { parseClaims } from './claims.ts';
import type { Connection } from './connection.ts';
import { agentError } from './error.ts';
import type { Question } from './evidence.ts';
import type { TpmIdentity } from './identity/identity.ts';

/** The attestation sessions of builds, on a build host. */
export class BuildSessions {
  readonly #attester: string;
  readonly #connection: Connection;
  readonly #identity: TpmIdentity;
  /** Opening evidence by session. A session that is open when the agent ends is lost with it: the server expires it. */
  readonly #open = new Map<string, EvidenceMessage>();

  constructor(attester: string, connection: Connection, identity: TpmIdentity) {
    this.#attester = attester;
    this.#connection = connection;
    this.#identity = identity;
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
        this.#open.set(session, evidence);
        return record;
      },
    );
  }

  /** Closes a session on an image: evidence after the build, the statement signed in the TPM, the signature logged. */
  async close(session: string, claimed: unknown): Promise<Reply<typeof agentSessionClose>> {
    const opening = this.#open.get(session);
    if (opening === undefined) {
      throw agentError('BUILD_SESSION_UNKNOWN', 'This agent has no such session open.', {
        hint: 'A session does not outlive its agent, nor its machine’s boot. Build again.',
      });
    }
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
    this.#open.delete(session);
    const evidence = [opening, closing];
    const result = await this.#claimsOf(record);
    const payload = buildStatement(claims, {
      session,
      builder: this.#attester,
      tier: result.tier,
      boot: result.boot,
      ear: record.ear ?? '',
      akCertification: { ak: toBase64(identity.akPublic), key: toBase64(certifiedKey), certification },
      evidence: result.evidence,
    });
    const envelope = makeEnvelope(payload, await identity.sign(paeDigest(PAYLOAD_TYPE, payload)));
    const publicKey = toBase64(identity.signingKey.spki);
    const client = await this.#connection.client();
    const entry = await client.call(logAdd, { body: { envelope, publicKey } });
    return { record, envelope, publicKey, entry, evidence };
  }

  /** What the closed session's result says: what the statement repeats for readers that know no EAR. */
  async #claimsOf(record: SessionRecord): Promise<SessionClaims> {
    const client = await this.#connection.client();
    const { issuer, jwks } = await client.call(trustShow, {});
    const { session } = await verifyEar(record.ear ?? '', { issuer, jwks }, new Date());
    if (session === undefined)
      throw agentError('BUILD_CLAIMS', 'The session’s result says nothing of a session.');
    return session;
  }

  /** Gives a session up. The server lets it expire. */
  abandon(session: string): void {
    this.#open.delete(session);
  }
}
