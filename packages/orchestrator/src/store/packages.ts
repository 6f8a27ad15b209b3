import { type Digest, parseDigest, type Refusal } from '@kallio/codec';
import { RefusalReply } from '@kallio/protocol';
import { type Database, integer, optional, type Row, text, word } from '@kallio/store';
import { Type } from 'typebox';
import { AppD } from '../packages/appd.ts';
import { optionalDocument } from './documents.ts';

const STATES = ['CREATED', 'PROCESSING', 'ONBOARDED', 'REFUSED'] as const;

/** An application package as it is kept. */
export interface StoredPackage {
  readonly id: string;
  readonly createdAt: number;
  readonly name: string;
  readonly version: string;
  readonly provider: string;
  readonly state: (typeof STATES)[number];
  readonly appd: AppD | undefined;
  /** Digest that the image's reference stood for when it was checked: what runs, whatever becomes of a tag. */
  readonly digest: Digest | undefined;
  readonly builder: string | undefined;
  /** TCP ports that the signed image exposes. */
  readonly ports: readonly number[];
  readonly refusal: Refusal | undefined;
}

/** What the image check of a package came to. */
export type Checked =
  | {
      readonly ok: true;
      readonly digest: Digest;
      readonly builder: string;
      readonly ports: readonly number[];
    }
  | { readonly ok: false; readonly refusal: Refusal };

const Ports = Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }));

/** Application packages. */
export class Packages {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  create(id: string, names: { name: string; version: string; provider: string }, now: number): void {
    this.#db
      .sql(
        `INSERT INTO packages (id, created_at, name, version, provider, state) VALUES (?, ?, ?, ?, ?, 'CREATED')`,
      )
      .run(id, now, names.name, names.version, names.provider);
  }

  get(id: string): StoredPackage | undefined {
    const row = this.#db.sql('SELECT * FROM packages WHERE id = ?').get(id);
    return row === undefined ? undefined : packageOf(row);
  }

  all(): StoredPackage[] {
    return this.#db.sql('SELECT * FROM packages ORDER BY created_at, id').all().map(packageOf);
  }

  /** The package of an application that is being checked or onboarded. */
  current(appDId: string): StoredPackage | undefined {
    const row = this.#db
      .sql(`SELECT * FROM packages WHERE appd_id = ? AND state IN ('PROCESSING', 'ONBOARDED')`)
      .get(appDId);
    return row === undefined ? undefined : packageOf(row);
  }

  /** Keeps uploaded content; the image check is due from then on. */
  upload(id: string, appd: AppD, content: Uint8Array): void {
    this.#db
      .sql(`UPDATE packages SET state = 'PROCESSING', appd = ?, appd_id = ?, content = ? WHERE id = ?`)
      .run(JSON.stringify(appd), appd.appDId, content, id);
  }

  /** Keeps the verdict on a package that was being checked. */
  check(id: string, verdict: Checked): void {
    if (verdict.ok) {
      this.#db
        .sql(
          `UPDATE packages SET state = 'ONBOARDED', digest = ?, builder = ?, ports = ?
             WHERE id = ? AND state = 'PROCESSING'`,
        )
        .run(verdict.digest, verdict.builder, JSON.stringify(verdict.ports), id);
    } else {
      this.#db
        .sql(`UPDATE packages SET state = 'REFUSED', refusal = ? WHERE id = ? AND state = 'PROCESSING'`)
        .run(JSON.stringify(verdict.refusal), id);
    }
  }

  inUse(id: string): boolean {
    return this.#db.sql('SELECT 1 FROM instances WHERE package = ? LIMIT 1').get(id) !== undefined;
  }

  delete(id: string): void {
    this.#db.sql('DELETE FROM packages WHERE id = ?').run(id);
  }
}

function packageOf(row: Row): StoredPackage {
  return {
    id: text(row, 'id'),
    createdAt: integer(row, 'created_at'),
    name: text(row, 'name'),
    version: text(row, 'version'),
    provider: text(row, 'provider'),
    state: word(row, 'state', STATES),
    appd: optionalDocument(row, 'appd', AppD),
    digest: optional(row, 'digest', (r, c) => parseDigest(text(r, c))),
    builder: optional(row, 'builder', text),
    ports: optionalDocument(row, 'ports', Ports) ?? [],
    refusal: optionalDocument(row, 'refusal', RefusalReply),
  };
}
