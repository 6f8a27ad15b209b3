import type { SQLInputValue } from 'node:sqlite';

/** One statement that writes one row. */
export interface Write<Value = SQLInputValue> {
  readonly sql: string;
  readonly values: readonly Value[];
  /** What to do once it is on disk; must not throw. */
  readonly done?: () => void;
}

/** Stands for a value that is worked out where it is written: by its place among those. */
export interface Late {
  readonly late: number;
}

/** A write some of whose values are not known before. */
export type LateWrite = Write<SQLInputValue | Late>;
