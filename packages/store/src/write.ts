import type { SQLInputValue } from 'node:sqlite';

/** One statement that writes one row. */
export interface Write {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
  /** What to do once it is on disk; must not throw. */
  readonly done?: () => void;
}
