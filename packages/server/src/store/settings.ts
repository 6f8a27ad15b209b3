import type { Database } from '@kallio/store';
import { blob } from '@kallio/store';

/** Small values that the server makes once and must find again. */
export class Settings {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** The value under this name; made by `make`, and kept, when there is none. */
  getOrMake(name: string, make: () => Uint8Array): Uint8Array {
    return this.#db.transaction(() => {
      const row = this.#db.sql('SELECT value FROM settings WHERE name = ?').get(name);
      if (row !== undefined) return blob(row, 'value');
      const value = make();
      this.#db.sql('INSERT INTO settings (name, value) VALUES (?, ?)').run(name, value);
      return value;
    });
  }
}
