import { type CodecCode, KallioError, Reader } from '@kallio/codec';

/** A member of an `ar` archive. */
export interface ArMember {
  readonly name: string;
  readonly size: number;
}

export const AR_MAGIC = '!<arch>\n';
export const AR_HEADER_BYTES = 60;

/** Reads a member's header (deb(5), ar(5)): name, time, owner, group, mode and size as text, then "`\n". */
export function readArHeader(bytes: Uint8Array): ArMember {
  const reader = new Reader(bytes);
  const text = Buffer.from(reader.bytes(AR_HEADER_BYTES, 'A member’s header')).toString('latin1');
  reader.end('A member’s header');
  const name = /^([A-Za-z0-9._-]{1,15})\/? *$/.exec(text.slice(0, 16))?.[1];
  const size = /^([0-9]{1,10}) *$/.exec(text.slice(48, 58))?.[1];
  if (name === undefined || size === undefined || text.slice(58) !== '`\n') {
    throw new KallioError<CodecCode>('CODEC_RANGE', 'This is no header of an ar archive’s member.');
  }
  return { name, size: Number(size) };
}
