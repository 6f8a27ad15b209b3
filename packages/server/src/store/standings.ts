import { decodeShape, parseJson } from '@kallio/codec';
import { State } from '@kallio/protocol';
import type { Database } from '@kallio/store';
import { integer, optional, text } from '@kallio/store';
import { Type } from 'typebox';
import { Recent } from '../recent.ts';

/** What was last told of an attester and its instances. */
export interface Standing {
  readonly platform: State;
  /** By instance name, or container id for what stands in no log. */
  readonly instances: Readonly<Record<string, State>>;
  /**
   * When to look whether it has turned STALE, milliseconds since 1970; absent for what can't. Evidence that changes nothing
   * leaves it where it is: whoever looks moves it on.
   */
  readonly dueAt?: number;
}

/** Attesters whose standing stays read. */
const RECENT = 16_384;

const Instances = Type.Record(Type.String(), State);

/** What was last told of each attester, so that a change is told once; and when time alone will change it. */
export class Standings {
  readonly #db: Database;
  /** By claim, as it is on disk. */
  readonly #recent = new Recent<number, Standing>(RECENT);

  constructor(db: Database) {
    this.#db = db;
  }

  get(claim: number): Standing | undefined {
    const known = this.#recent.get(claim);
    if (known !== undefined) return known;
    const row = this.#db.sql('SELECT platform, instances, due_at FROM standings WHERE claim = ?').get(claim);
    if (row === undefined) return undefined;
    const what = 'A stored standing';
    const dueAt = optional(row, 'due_at', integer);
    const standing = {
      platform: decodeShape(State, text(row, 'platform'), 'STORE_CORRUPT', what),
      instances: decodeShape(Instances, parseJson(text(row, 'instances')), 'STORE_CORRUPT', what),
      ...(dueAt === undefined ? {} : { dueAt }),
    };
    if (!this.#db.isTransaction) this.#recent.set(claim, standing);
    return standing;
  }

  set(claim: number, standing: Standing): void {
    const { platform, instances, dueAt } = standing;
    this.#recent.delete(claim);
    this.#db
      .sql(
        `INSERT INTO standings (claim, platform, instances, due_at) VALUES (?, ?, ?, ?)
           ON CONFLICT (claim) DO UPDATE SET platform = excluded.platform, instances = excluded.instances,
             due_at = excluded.due_at`,
      )
      .run(claim, platform, JSON.stringify(instances), dueAt ?? null);
    this.#db.afterCommit(() => this.#recent.set(claim, standing));
  }

  /** Claims that time may have made STALE by now. */
  due(now: number, limit: number): number[] {
    return this.#db
      .sql('SELECT claim FROM standings WHERE due_at <= ? ORDER BY due_at LIMIT ?')
      .all(now, limit)
      .map((row) => integer(row, 'claim'));
  }

  /** When the next one is due. */
  nextDue(): number | undefined {
    const row = this.#db
      .sql('SELECT due_at FROM standings WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1')
      .get();
    return row === undefined ? undefined : integer(row, 'due_at');
  }
}
