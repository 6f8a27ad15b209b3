/** One thing that was looked at. */
export interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  /** True where a machine can attest without it, but shows less. */
  readonly optional?: true;
  /** What to do about it, where it is not as it should be. */
  readonly hint?: string;
}

/** A finding; what to do is said only where something is wrong. */
export function finding(what: string, ok: boolean, detail: string, hint?: string): Finding {
  return { what, ok, detail, ...(ok || hint === undefined ? {} : { hint }) };
}

/** The same of something that can be done without. */
export function optionalFinding(what: string, ok: boolean, detail: string, hint?: string): Finding {
  return { ...finding(what, ok, detail, hint), optional: true };
}
