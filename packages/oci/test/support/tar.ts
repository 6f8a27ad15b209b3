/* Tar archives made by hand, so that they can say what no tool writes. */

const BLOCK = 512;

export interface Header {
  readonly name?: string | Uint8Array;
  /** One character. Default `0`: a regular file. */
  readonly type?: string;
  readonly link?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** What the header says, whatever follows. */
  readonly size?: number;
  readonly content?: string | Uint8Array;
  /** Bytes that stand in the header as they are, by their place. */
  readonly raw?: Readonly<Record<number, string | Uint8Array>>;
}

/** An entry: its header, what follows it, and padding. */
export function entry({ content = '', raw = {}, ...header }: Header): Uint8Array {
  const body = Buffer.from(content);
  const block = Buffer.alloc(BLOCK);
  const put = (at: number, what: string | Uint8Array) => Buffer.from(what).copy(block, at);
  const octal = (at: number, digits: number, value: number) =>
    put(at, value.toString(8).padStart(digits, '0'));
  put(0, header.name ?? 'file');
  octal(100, 7, header.mode ?? 0o644);
  octal(108, 7, header.uid ?? 0);
  octal(116, 7, header.gid ?? 0);
  octal(124, 11, header.size ?? body.length);
  octal(136, 11, 0);
  put(156, header.type ?? '0');
  put(157, header.link ?? '');
  put(257, 'ustar\x0000');
  for (const [at, bytes] of Object.entries(raw)) put(Number(at), bytes);
  put(148, '        ');
  octal(
    148,
    6,
    block.reduce((sum, byte) => sum + byte, 0),
  );
  put(154, '\0 ');
  return new Uint8Array(Buffer.concat([block, body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK)]));
}

/** A record of an extended header: its length, its own digits among it. */
export function record(key: string, value: string | Uint8Array): Uint8Array {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return new Uint8Array(Buffer.concat([Buffer.from(String(length)), rest]));
}

/** An extended header of these records, for the next entry or (type `g`) for all. */
export function pax(
  records: Readonly<Record<string, string | Uint8Array>>,
  type: 'x' | 'g' = 'x',
): Uint8Array {
  const content = Buffer.concat(Object.entries(records).map(([key, value]) => record(key, value)));
  return entry({ name: 'PaxHeaders/x', type, content });
}

/** A long name (`L`) or link (`K`) as GNU tar writes it. */
export function gnuLong(type: 'L' | 'K', name: string | Uint8Array): Uint8Array {
  return entry({ name: '././@LongLink', type, content: Buffer.concat([Buffer.from(name), Buffer.alloc(1)]) });
}

/** An archive of these entries and its end. */
export function archive(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]));
}
