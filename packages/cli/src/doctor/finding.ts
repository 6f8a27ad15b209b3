/** One thing that was looked at. */
export interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do about it, where it is not as it should be. */
  readonly hint?: string;
}
