/** Longest head of an answer, in bytes. */
export const MAX_HEAD = 16 * 1024;

/** What an HTTP/1.1 answer begins with (RFC 9112 sections 4 and 5). */
export interface Head {
  readonly status: number;
  /** By name, in lower case; what was said more than once is joined by commas. */
  readonly headers: ReadonlyMap<string, string>;
  /** How the body ends. */
  readonly framing: Framing;
  /** Whether the connection may serve another question. */
  readonly keeps: boolean;
}

/** So many bytes; or in chunks; or with the connection. */
export type Framing = number | 'chunked' | 'connection';

const STATUS = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t -~\x80-\xff]*)?$/;
/** A header's line, or a trailer's. */
export const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)$/;
const LENGTH = /^\d{1,15}$/;

/**
 * Reads the head of an answer to `method`: its lines without the empty one that ends it, one byte a character. Strict: a
 * line that is folded, ends otherwise than by CR LF or has a control character is an error, and so is a body with two ends:
 * two readers could take two answers from the same bytes (RFC 9112 sections 5.2, 6.1, 6.3 and 11.1).
 */
export function parseHead(text: string, method: string): Head {
  const [first = '', ...lines] = text.split('\r\n');
  const [, minor, status] = STATUS.exec(first) ?? [];
  if (status === undefined) throw new Error('this is no answer of HTTP/1.1');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error('a header of the answer is malformed');
    const key = name.toLowerCase();
    const before = headers.get(key);
    headers.set(key, before === undefined ? bare(value) : `${before}, ${bare(value)}`);
  }
  // HTTP/1.0 has no chunks: who takes them to be there reads on where another has read all (RFC 9112 section 6.1).
  if (minor === '0' && headers.has('transfer-encoding')) throw new Error('the answer has chunks in HTTP/1.0');
  const framing = framingOf(method, Number(status), headers);
  const keeps = minor === '1' && framing !== 'connection' && !says(headers.get('connection'), 'close');
  return { status: Number(status), headers, framing, keeps };
}

function framingOf(method: string, status: number, headers: ReadonlyMap<string, string>): Framing {
  const [length, coding] = [headers.get('content-length'), headers.get('transfer-encoding')];
  if (length !== undefined && !LENGTH.test(length)) throw new Error('the answer’s length is no number');
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new Error('the answer is encoded in a way that nobody asked for');
  }
  if (coding !== undefined && length !== undefined) throw new Error('the answer says twice where it ends');
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return 0;
  if (coding !== undefined) return 'chunked';
  return length === undefined ? 'connection' : Number(length);
}

function says(list: string | undefined, word: string): boolean {
  return list?.split(',').some((one) => bare(one).toLowerCase() === word) ?? false;
}

/**
 * Without spaces and tabs around it (RFC 9110 section 5.6.3). Attack: `trim` also takes away a no-break space, after which
 * a length is none, or one that ends elsewhere, to whoever reads strictly.
 */
function bare(value: string): string {
  let [from, to] = [0, value.length];
  while (value[from] === ' ' || value[from] === '\t') from++;
  while (to > from && (value[to - 1] === ' ' || value[to - 1] === '\t')) to--;
  return value.slice(from, to);
}
