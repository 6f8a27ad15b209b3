import { type Refusal, refusal } from '@kallio/codec';
import type { AttesterKind } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { blob, integer, optional, type Row, text, word } from '@kallio/store';
import type { ServerCode } from '../codes.ts';
import { Recent } from '../recent.ts';
import type { Events } from './events.ts';
import { refusalFromText } from './refusal.ts';

const CLAIM_STATES = ['admitted', 'pending', 'held', 'refused', 'superseded'] as const;
export type ClaimState = (typeof CLAIM_STATES)[number];

/** What a TPM has proven about itself, and the name it asks for. */
export interface ProvenClaim {
  readonly attester: string;
  readonly kind: AttesterKind;
  /** SHA-256 of the EK's SubjectPublicKeyInfo, hexadecimal: one value for one key, however it is written. */
  readonly ek: string;
  readonly ekPublic: Uint8Array;
  /** DER. */
  readonly ekCertificate: Uint8Array;
  /** SHA-256 of the root certificate that the EK certificate chains to, hexadecimal. */
  readonly ekRoot: string;
  /** Name of the AK, hexadecimal. */
  readonly ak: string;
  readonly akPublic: Uint8Array;
}

/** A proven claim and what became of it. */
export interface Claim extends ProvenClaim {
  readonly claim: number;
  readonly state: ClaimState;
  readonly reason?: Refusal;
  readonly createdAt: number;
}

/** One decision on a claim. */
export interface Decision extends Pick<Claim, 'state' | 'reason' | 'ek' | 'ak'> {
  readonly at: number;
  readonly by: string;
}

/** Attesters whose claim stays read. */
const RECENT = 16_384;

/** Claims and the history of decisions on them. Nothing here is ever deleted. */
export class Claims {
  readonly #db: Database;
  readonly #events: Events;
  /** By attester, as it is on disk. A decision on any claim forgets all. */
  readonly #admitted = new Recent<string, Claim>(RECENT);

  constructor(db: Database, events: Events) {
    this.#db = db;
    this.#events = events;
  }

  insert(proven: ProvenClaim, state: ClaimState, reason: Refusal | undefined, by: string, at: number): Claim {
    const row = this.#db
      .sql(
        `INSERT INTO claims (attester, kind, ek, ek_public, ek_certificate, ek_root, ak, ak_public, state, reason,
           created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
      )
      .get(
        proven.attester,
        proven.kind,
        proven.ek,
        proven.ekPublic,
        proven.ekCertificate,
        proven.ekRoot,
        proven.ak,
        proven.akPublic,
        state,
        reason === undefined ? null : JSON.stringify(reason),
        at,
      );
    const claim = claimOf(row ?? {});
    this.#note(claim.claim, state, reason, by, at);
    return claim;
  }

  decide(claim: number, state: ClaimState, reason: Refusal | undefined, by: string, at: number): void {
    this.#db
      .sql('UPDATE claims SET state = ?, reason = ? WHERE claim = ?')
      .run(state, reason === undefined ? null : JSON.stringify(reason), claim);
    this.#note(claim, state, reason, by, at);
  }

  byNumber(claim: number): Claim | undefined {
    return maybe(this.#db.sql('SELECT * FROM claims WHERE claim = ?').get(claim));
  }

  admittedAs(attester: string): Claim | undefined {
    const known = this.#admitted.get(attester);
    if (known !== undefined) return known;
    const claim = maybe(
      this.#db.sql(`SELECT * FROM claims WHERE attester = ? AND state = 'admitted'`).get(attester),
    );
    if (claim !== undefined && !this.#db.isTransaction) this.#admitted.set(attester, claim);
    return claim;
  }

  admittedTpm(ek: string): Claim | undefined {
    return maybe(this.#db.sql(`SELECT * FROM claims WHERE ek = ? AND state = 'admitted'`).get(ek));
  }

  admittedAk(ak: string): Claim | undefined {
    return maybe(this.#db.sql(`SELECT * FROM claims WHERE ak = ? AND state = 'admitted' LIMIT 1`).get(ak));
  }

  /** The newest claim of this TPM on this name. */
  newest(attester: string, ek: string): Claim | undefined {
    return maybe(
      this.#db
        .sql('SELECT * FROM claims WHERE attester = ? AND ek = ? ORDER BY claim DESC LIMIT 1')
        .get(attester, ek),
    );
  }

  /** Claims of this TPM that wait for an operator. */
  waitingOf(ek: string): Claim[] {
    return this.#db
      .sql(`SELECT * FROM claims WHERE ek = ? AND state IN ('pending', 'held') ORDER BY claim`)
      .all(ek)
      .map(claimOf);
  }

  /** How many claims of this TPM were made since a time. */
  countSince(ek: string, since: number): number {
    const row = this.#db
      .sql('SELECT count(*) AS n FROM claims WHERE ek = ? AND created_at >= ?')
      .get(ek, since);
    return integer(row ?? {}, 'n');
  }

  /** Did an operator ever refuse this TPM, and not admit it since? */
  refusedByOperator(ek: string): boolean {
    const row = this.#db
      .sql(
        `SELECT state FROM claims WHERE ek = ? AND state IN ('admitted', 'refused') ORDER BY claim DESC LIMIT 1`,
      )
      .get(ek);
    return row !== undefined && text(row, 'state') === 'refused';
  }

  /** What an operator looks at: claims in force or waiting, and names that have nothing but ended claims. */
  current(): Claim[] {
    return this.#db
      .sql(
        `SELECT * FROM claims AS c WHERE state IN ('admitted', 'pending', 'held') OR claim =
           (SELECT max(claim) FROM claims AS d WHERE d.attester = c.attester AND NOT EXISTS
             (SELECT 1 FROM claims AS e WHERE e.attester = c.attester AND e.state IN ('admitted', 'pending', 'held')))
         ORDER BY attester, claim`,
      )
      .all()
      .map(claimOf);
  }

  /** Decisions on claims on a name: the newest `limit`, oldest first. */
  history(attester: string, limit: number): Decision[] {
    return this.#db
      .sql(
        `SELECT a.at, a.state, a.by, a.reason, c.ek, c.ak FROM admissions AS a JOIN claims AS c USING (claim)
           WHERE c.attester = ? ORDER BY a.rowid DESC LIMIT ?`,
      )
      .all(attester, limit)
      .map((row) => ({
        at: integer(row, 'at'),
        state: word(row, 'state', CLAIM_STATES),
        by: text(row, 'by'),
        ek: text(row, 'ek'),
        ak: text(row, 'ak'),
        ...reasonOf(row),
      }))
      .reverse();
  }

  #note(claim: number, state: ClaimState, reason: Refusal | undefined, by: string, at: number): void {
    this.#admitted.clear();
    this.#db
      .sql('INSERT INTO admissions (claim, at, state, by, reason) VALUES (?, ?, ?, ?, ?)')
      .run(claim, at, state, by, reason === undefined ? null : JSON.stringify(reason));
    const { attester, ek } = this.byNumber(claim) ?? {};
    if (attester === undefined || ek === undefined) return;
    const why = reason === undefined ? {} : { reason: { ...reason } };
    this.#events.append({ type: 'claim.decided', data: { attester, ek, state, by, ...why } }, at);
  }
}

/** Why a claim that lost its place to another is no longer in force. */
export function superseded(): Refusal {
  return refusal('ENROL_SUPERSEDED' satisfies ServerCode, 'A later claim took the place of this one.');
}

function maybe(row: Row | undefined): Claim | undefined {
  return row === undefined ? undefined : claimOf(row);
}

function reasonOf(row: Row): { reason?: Refusal } {
  const reason = optional(row, 'reason', text);
  return reason === undefined ? {} : { reason: refusalFromText(reason) };
}

function claimOf(row: Row): Claim {
  return {
    claim: integer(row, 'claim'),
    attester: text(row, 'attester'),
    kind: word(row, 'kind', ['builder', 'device']),
    ek: text(row, 'ek'),
    ekPublic: blob(row, 'ek_public'),
    ekCertificate: blob(row, 'ek_certificate'),
    ekRoot: text(row, 'ek_root'),
    ak: text(row, 'ak'),
    akPublic: blob(row, 'ak_public'),
    state: word(row, 'state', CLAIM_STATES),
    ...reasonOf(row),
    createdAt: integer(row, 'created_at'),
  };
}
