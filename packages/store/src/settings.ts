/** Pages that stay in memory. */
const CACHE_KIB = 32 * 1024;
/** Pages of the write-ahead log (4 KiB) after which they go to the file: a page written often goes there once. */
const CHECKPOINT_PAGES = 8192;
/** How long to wait for another connection's transaction. */
export const BUSY_MS = 5_000;

/** For each connection that writes: what has been committed survives a power cut. */
export const SETTINGS = `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;
  PRAGMA cache_size = ${-CACHE_KIB}; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};`;

/** What another thread opens its own connection by. */
export interface Opening {
  readonly path: string;
  readonly settings: string;
  readonly timeout: number;
}

export function openingOf(path: string): Opening {
  return { path, settings: SETTINGS, timeout: BUSY_MS };
}
