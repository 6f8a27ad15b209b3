import { KallioError, printable, type Refusal, refusal } from '@kallio/codec';
import { EXIT, exitCodeOf } from './exit.ts';

/** Where a command writes. The process's own streams, unless a test says otherwise. */
export interface Streams {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly isTerminal: boolean;
}

/** Codes of the command line itself. */
export type CliCode =
  | 'CLI_FILE'
  | 'CLI_FILE_TOO_LARGE'
  | 'CLI_AK_FORMAT'
  | 'CLI_PCRS_FORMAT'
  | 'CLI_NONCE'
  | 'CLI_EFI_IMAGE'
  | 'CLI_EVIDENCE'
  | 'CLI_PACKAGE'
  | 'CLI_TOOL_MISSING'
  | 'CLI_REFERENCE'
  | 'CLI_SOURCE'
  | 'CLI_SERVER_MISSING'
  | 'CLI_TOKEN_MISSING'
  | 'CLI_BUILDER'
  | 'BUILD_IMAGE_OLDER'
  | 'BUILD_IMAGE_TIME'
  | 'BUILD_INTERRUPTED'
  | 'CLI_SIGNING_STATE'
  | 'CLI_WAIT'
  | 'SESSION_RECORD_BROKEN'
  | 'LOG_OTHER_IMAGE'
  | 'EXPLAIN_NO_RESULT'
  | 'EXPLAIN_MATERIAL'
  | 'EXPLAIN_REFERENCE_SET'
  | 'USAGE'
  | 'INTERNAL';

/** A refusal of the command line itself. */
export function cliError(code: CliCode, message: string, hint?: string): KallioError<CliCode> {
  return new KallioError(code, message, { hint });
}

/**
 * One command's output: for a person, or with `--json` one document on standard output and nothing else there. Either is
 * {@link printable}, line by line: names, labels and messages come from whoever made them.
 */
export class Output {
  readonly json: boolean;
  readonly #streams: Streams;

  constructor(streams: Streams, json: boolean) {
    this.#streams = streams;
    this.json = json;
  }

  /** The result: `document` with `--json`, otherwise `text`. */
  result(document: unknown, text: string): void {
    this.#streams.out(shown(this.json ? JSON.stringify(document, null, 2) : text));
  }

  /** One of a row of results that come as time goes: with `--json` one document a line. */
  item(document: unknown, text: string): void {
    this.#streams.out(shown(this.json ? JSON.stringify(document) : text));
  }

  /** A piece of a result that is too long for one string: text that is printable, or with `json` a piece of the document. */
  piece(text: string): void {
    this.#streams.out(text);
  }

  /** How it is going, for a person; on standard error, so that it never mixes with a result. */
  progress(line: string): void {
    if (!this.json) this.#streams.err(shown(line));
  }

  /** A failure, and the exit code for it. Never a stack, unless KALLIO_DEBUG asks for it. */
  failure(error: unknown): number {
    const told = toRefusal(error);
    if (this.json) this.#streams.out(shown(JSON.stringify({ error: told }, null, 2)));
    else this.#streams.err(shown(describe(told)));
    if (process.env.KALLIO_DEBUG === '1' && error instanceof Error)
      this.#streams.err(shown(`${error.stack}`));
    return told.code === 'INTERNAL' ? EXIT.refused : exitCodeOf(told.code);
  }
}

function toRefusal(error: unknown): Refusal {
  if (error instanceof KallioError) return error.toJSON();
  const what = error instanceof Error ? error.message : String(error);
  return refusal('INTERNAL', `Something went wrong that should not: ${what}`, {
    hint: 'Run it again with KALLIO_DEBUG=1 to see where, and report it.',
  });
}

function describe({ code, message, pointer, hint }: Refusal): string {
  const lines = [`${code}: ${message}`];
  if (pointer !== undefined) lines.push(`  at ${pointer}`);
  if (hint !== undefined) lines.push(`  ${hint}`);
  return lines.join('\n');
}

/** The lines of a text, each printable and with its end. */
function shown(text: string): string {
  const lines = text.split('\n').map(printable).join('\n');
  return lines.endsWith('\n') ? lines : `${lines}\n`;
}
