import type { Database } from '@kallio/store';
import { blob, integer, optional, type Row, text, word } from '@kallio/store';
import type { ProvenClaim } from './claims.ts';

/** A credential challenge that went out, and the claim that it would prove. */
export interface Challenge {
  readonly challenge: string;
  readonly state: 'outstanding' | 'burned' | 'proven';
  /** SHA-256 of the MAC that answers it. */
  readonly answer: Uint8Array;
  readonly claimed: ProvenClaim;
  /** Hash of the join token that came with the request. */
  readonly joinToken?: Uint8Array;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** The claim it became, once proven. */
  readonly claim?: number;
}

/** How many challenges wait for an answer. */
export interface Outstanding {
  readonly all: number;
  readonly fromSource: number;
}

/** Answered challenges that are kept of one claim. */
const MAX_PROVEN = 16;

/** Credential challenges. */
export class Challenges {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  outstanding(source: string, now: number): Outstanding {
    const row =
      this.#db
        .sql(
          `SELECT count(*) AS total, count(*) FILTER (WHERE source = ?) AS mine FROM challenges
             WHERE state = 'outstanding' AND expires_at > ?`,
        )
        .get(source, now) ?? {};
    return { all: integer(row, 'total'), fromSource: integer(row, 'mine') };
  }

  insert(challenge: Omit<Challenge, 'state' | 'claim'>, source: string): void {
    const { claimed } = challenge;
    this.#db
      .sql(
        `INSERT INTO challenges (challenge, source, state, answer, attester, kind, ek, ek_public, ek_certificate,
           ek_root, ak, ak_public, join_token, expires_at) VALUES (?, ?, 'outstanding', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        challenge.challenge,
        source,
        challenge.answer,
        claimed.attester,
        claimed.kind,
        claimed.ek,
        claimed.ekPublic,
        claimed.ekCertificate,
        claimed.ekRoot,
        claimed.ak,
        claimed.akPublic,
        challenge.joinToken ?? null,
        challenge.expiresAt,
      );
  }

  get(challenge: string): Challenge | undefined {
    const row = this.#db.sql('SELECT * FROM challenges WHERE challenge = ?').get(challenge);
    return row === undefined ? undefined : challengeOf(row);
  }

  burn(challenge: string): void {
    this.#db.sql(`UPDATE challenges SET state = 'burned' WHERE challenge = ?`).run(challenge);
  }

  proven(challenge: string, claim: number): void {
    this.#db
      .sql(`UPDATE challenges SET state = 'proven', claim = ? WHERE challenge = ?`)
      .run(claim, challenge);
    // An attester that enrols again and again keeps the newest ones only.
    this.#db
      .sql(
        `DELETE FROM challenges WHERE claim = ?1 AND rowid NOT IN
           (SELECT rowid FROM challenges WHERE claim = ?1 ORDER BY rowid DESC LIMIT ?2)`,
      )
      .run(claim, MAX_PROVEN);
  }

  /**
   * Forgets challenges that ended before `before`; those that were answered rightly, before `provenBefore`, unless their
   * claim is admitted: they are how the attester shows that it is the one.
   */
  prune(before: number, provenBefore: number): void {
    this.#db.sql(`DELETE FROM challenges WHERE state <> 'proven' AND expires_at < ?`).run(before);
    this.#db
      .sql(
        `DELETE FROM challenges WHERE expires_at < ? AND (claim IS NULL OR
           claim NOT IN (SELECT claim FROM claims WHERE state = 'admitted'))`,
      )
      .run(provenBefore);
  }
}

function challengeOf(row: Row): Challenge {
  const joinToken = optional(row, 'join_token', blob);
  const claim = optional(row, 'claim', integer);
  return {
    challenge: text(row, 'challenge'),
    state: word(row, 'state', ['outstanding', 'burned', 'proven']),
    answer: blob(row, 'answer'),
    claimed: {
      attester: text(row, 'attester'),
      kind: word(row, 'kind', ['builder', 'device']),
      ek: text(row, 'ek'),
      ekPublic: blob(row, 'ek_public'),
      ekCertificate: blob(row, 'ek_certificate'),
      ekRoot: text(row, 'ek_root'),
      ak: text(row, 'ak'),
      akPublic: blob(row, 'ak_public'),
    },
    ...(joinToken === undefined ? {} : { joinToken }),
    expiresAt: integer(row, 'expires_at'),
    ...(claim === undefined ? {} : { claim }),
  };
}
