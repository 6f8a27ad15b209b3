import { printable } from './printable.ts';

/**
 * One refusal: what a caller, an operator and a log line all need. Every package closes its own set of codes
 * (`type TpmCode = 'TPM_…' | …`) and throws or returns refusals of that set only.
 */
export interface Refusal<Code extends string = string> {
  /** Stable, upper snake case, never reused for another meaning. */
  readonly code: Code;
  /** A sentence for a person, in one line that is {@link printable}, whatever of the input it repeats. Never holds a secret. */
  readonly message: string;
  /** Where in the input: `pcr:7`, `ima:142`, `/predicate/image/digest`, `offset 12`. */
  readonly pointer?: string;
  /** What to do next, for a person at a terminal. */
  readonly hint?: string;
}

/** Where a refusal points and what to do about it. */
export interface RefusalDetail {
  readonly pointer?: string | undefined;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** A refusal on its way up the stack. */
export class KallioError<Code extends string = string> extends Error implements Refusal<Code> {
  readonly code: Code;
  // `declare`: a field that nobody sets is not there at all, rather than there and undefined.
  declare readonly pointer?: string;
  declare readonly hint?: string;

  constructor(code: Code, message: string, detail: RefusalDetail = {}) {
    super(printable(message), detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = 'KallioError';
    this.code = code;
    if (detail.pointer !== undefined) this.pointer = printable(detail.pointer);
    if (detail.hint !== undefined) this.hint = printable(detail.hint);
  }

  /** The refusal as plain data, ready for JSON. */
  toJSON(): Refusal<Code> {
    return refusal(this.code, this.message, this);
  }
}

/** A refusal as plain data. */
export function refusal<Code extends string>(
  code: Code,
  message: string,
  detail: RefusalDetail = {},
): Refusal<Code> {
  return {
    code,
    message: printable(message),
    ...(detail.pointer === undefined ? {} : { pointer: printable(detail.pointer) }),
    ...(detail.hint === undefined ? {} : { hint: printable(detail.hint) }),
  };
}

/** Codes of this package. */
export type CodecCode =
  | 'CODEC_TRUNCATED'
  | 'CODEC_TRAILING'
  | 'CODEC_RANGE'
  | 'CODEC_HEX'
  | 'CODEC_BASE64'
  | 'CODEC_UTF8'
  | 'CODEC_DIGEST'
  | 'JSON_SYNTAX'
  | 'JSON_DUPLICATE_KEY'
  | 'JSON_TOO_LARGE'
  | 'JSON_TOO_DEEP'
  | 'JSON_NOT_CANONICAL'
  | 'SHAPE_MISMATCH';
