import { pkiError } from './error.ts';

/** One DER value: its tag octet, its contents, and all of it as it stood. */
export interface Tlv {
  readonly tag: number;
  readonly value: Uint8Array;
  readonly raw: Uint8Array;
}

/** Tags that certificates are made of (ITU-T X.690 section 8; `context` ones are RFC 5280's). */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/**
 * Reads DER values one after the other. Lengths must be definite and as short as they can be (X.690 section 10.1): the
 * outline of a certificate has one reading, so nobody can show two readers two certificates in the same bytes.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Nothing is left. */
  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** How many bytes have been read. */
  get position(): number {
    return this.#at;
  }

  /** The next value, which must have this tag. */
  take(tag: number): Tlv {
    const next = this.takeIf(tag);
    if (next === undefined) throw malformed(`a value with the tag 0x${tag.toString(16)} is missing`);
    return next;
  }

  /** The next value where it has this tag. */
  takeIf(tag: number): Tlv | undefined {
    return !this.done && this.#bytes[this.#at] === tag ? this.any() : undefined;
  }

  /** The next value, whatever it is. */
  any(): Tlv {
    const start = this.#at;
    const tag = this.#octet();
    if ((tag & 0x1f) === 0x1f) throw malformed('a tag is longer than those of certificates');
    const length = this.#length();
    const from = this.#at;
    if (length > this.#bytes.length - from) throw malformed('a value goes on past the end');
    this.#at = from + length;
    return { tag, value: this.#bytes.subarray(from, this.#at), raw: this.#bytes.subarray(start, this.#at) };
  }

  /** Refuses what is left over. */
  end(): void {
    if (!this.done) throw malformed('a value has more parts than it may have');
  }

  #length(): number {
    const first = this.#octet();
    if (first < 0x80) return first;
    const octets = first & 0x7f;
    // Certificates are shorter than 64 KiB; 0x80 alone is BER's indefinite length.
    if (octets === 0 || octets > 2) throw malformed('a length is not one of DER');
    let length = 0;
    for (let i = 0; i < octets; i++) length = (length << 8) | this.#octet();
    if (length < (octets === 1 ? 0x80 : 0x100)) throw malformed('a length is longer than DER writes it');
    return length;
  }

  #octet(): number {
    const octet = this.#bytes[this.#at];
    if (octet === undefined) throw malformed('it ends too early');
    this.#at += 1;
    return octet;
  }
}

/** The values inside a constructed one. */
export function inside({ value }: Tlv): DerReader {
  return new DerReader(value);
}

/** The one value that these bytes are. */
export function only(bytes: Uint8Array, tag: number): Tlv {
  const reader = new DerReader(bytes);
  const one = reader.take(tag);
  reader.end();
  return one;
}

/** All values inside a constructed one. */
export function allInside(tlv: Tlv): Tlv[] {
  const reader = inside(tlv);
  const all: Tlv[] = [];
  while (!reader.done) all.push(reader.any());
  return all;
}

/** An object identifier in dotted decimals (X.690 section 8.19). */
export function oidOf({ value }: Tlv): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const octet of value) {
    arc = arc * 128 + (octet & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER / 128) throw malformed('an object identifier is too long');
    if ((octet & 0x80) !== 0) continue;
    arcs.push(arc);
    arc = 0;
  }
  const [first, ...rest] = arcs;
  if (first === undefined || (value[value.length - 1] ?? 0x80) >= 0x80) {
    throw malformed('an object identifier has no end');
  }
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - root * 40, ...rest].join('.');
}

/** A BOOLEAN: 0x00 or 0xff, and nothing between that two readers could take differently. */
export function booleanOf({ value }: Tlv): boolean {
  const [octet] = value;
  if (value.length !== 1 || (octet !== 0 && octet !== 0xff))
    throw malformed('a BOOLEAN is neither true nor false');
  return octet === 0xff;
}

/** A BIT STRING of whole octets, as keys and signatures are. */
export function octetsOf({ value }: Tlv): Uint8Array {
  if (value[0] !== 0) throw malformed('a key or signature does not end with an octet');
  return value.subarray(1);
}

const TIMES = new Map<number, RegExp>([
  [TAG.utcTime, /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/],
  [TAG.generalizedTime, /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/],
]);

/**
 * A time (RFC 5280 section 4.1.2.5): to the second, in GMT. Which of the two types is used for which years is not
 * checked: some makers write GeneralizedTime for all of them.
 */
export function timeOf({ tag, value }: Tlv): Date {
  const text = String.fromCharCode(...value);
  const match = TIMES.get(tag)?.exec(text) ?? null;
  if (match === null) throw malformed('a time is not written as RFC 5280 section 4.1.2.5 says');
  const [year = 0, month = 0, ...rest] = match.slice(1).map(Number);
  const [day = 0, hour = 0, minute = 0, second = 0] = rest;
  const whole = tag === TAG.utcTime ? year + (year < 50 ? 2000 : 1900) : year;
  const time = new Date(Date.UTC(whole, month - 1, day, hour, minute, second));
  // Date carries a month 13 or a day 32 over: then the month is not the one that was written.
  if (
    time.getUTCMonth() !== month - 1 ||
    time.getUTCDate() !== day ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  ) {
    throw malformed('a time is not one of the calendar');
  }
  return time;
}

/** A refusal of bytes that are no certificate. */
export function malformed(why: string, cause?: unknown) {
  return pkiError('PKI_CERTIFICATE_MALFORMED', `This is no certificate: ${why}.`, { cause });
}
