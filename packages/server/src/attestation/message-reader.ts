import { canonicalize, decodeShape, Exact, KallioError } from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { Recent } from '../recent.ts';

/** Messages that are longer show logs: the next one will not be like them. */
const MAX_KEPT = 8192;
const BACKSLASH = 0x5c;

/** What differs from one message to the next of a machine on which nothing happens. */
const Fresh = Exact({
  nonce: EvidenceMessage.properties.nonce,
  quote: EvidenceMessage.properties.quote,
});

/** A message as it came and as it was read, and where its text holds what the next one may have another of. */
interface Known {
  readonly bytes: Buffer;
  readonly message: EvidenceMessage;
  readonly nonce: Place;
  readonly attest: Place;
  readonly signature: Place;
  /** The text between these places, from its beginning to its end. */
  readonly between: readonly Place[];
  /** What stands around nonce, attest and signature, in this order, in the message's canonical form. */
  readonly written: readonly [string, string, string, string];
}

interface Place {
  readonly from: number;
  readonly to: number;
}

const writtenForms = new WeakMap<EvidenceMessage, string>();

/** The canonical form of a message, where that came with reading it. */
export function writtenForm(message: EvidenceMessage): string | undefined {
  return writtenForms.get(message);
}

/**
 * Reads evidence messages, one attester's after another. In steady state a message differs from the one before in nonce, quote
 * and nothing else, and reading it anew takes as long as judging it. A text that is, byte for byte, one that was read before,
 * but for the insides of strings which again hold nothing that JSON would have to escape, is the same value but for
 * these strings. Any other text is parsed, and refused, as ever.
 */
export class MessageReader {
  readonly #parse: (bytes: Uint8Array) => EvidenceMessage;
  readonly #recent: Recent<string, Known>;

  /** `parse` reads any message, strictly; of `most` attesters the last message is kept, so that the next is read quickly. */
  constructor(parse: (bytes: Uint8Array) => EvidenceMessage, most: number) {
    this.#parse = parse;
    this.#recent = new Recent(most);
  }

  /** The message that this attester sent. Parts that it has in common with the one before are the same objects. */
  read(attester: string, bytes: Uint8Array): EvidenceMessage {
    const known = this.#recent.get(attester);
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const again = known === undefined ? undefined : likeBefore(known, text);
    if (again !== undefined) return again;
    const message = this.#parse(bytes);
    this.#recent.delete(attester);
    const place = placesIn(text, message);
    if (place !== undefined) this.#recent.set(attester, place);
    return message;
  }
}

function likeBefore(
  { bytes, message, between, written, ...places }: Known,
  text: Buffer,
): EvidenceMessage | undefined {
  if (text.length !== bytes.length) return undefined;
  for (const { from, to } of between) if (text.compare(bytes, from, to, from, to) !== 0) return undefined;
  const inside = ({ from, to }: Place) => text.toString('latin1', from, to);
  const quote = { attest: inside(places.attest), signature: inside(places.signature) };
  const fresh = { nonce: inside(places.nonce), quote };
  try {
    // Their patterns leave no room for a quotation mark, or for anything else that would end or change a string.
    decodeShape(Fresh, fresh);
  } catch (error) {
    if (error instanceof KallioError) return undefined;
    throw error;
  }
  const read = { ...message, ...fresh };
  const [start, second, third, end] = written;
  writtenForms.set(read, start + fresh.nonce + second + quote.attest + third + quote.signature + end);
  return read;
}

/** Undefined for a message whose text may hold these strings at another place, or in another spelling. */
function placesIn(text: Buffer, message: EvidenceMessage): Known | undefined {
  // Without escapes, every quotation mark begins or ends a string.
  if (text.length > MAX_KEPT || text.includes(BACKSLASH)) return undefined;
  const nonce = placeOf(text, message.nonce);
  const attest = placeOf(text, message.quote.attest);
  const signature = placeOf(text, message.quote.signature);
  const written = aroundIn(message);
  if (nonce === undefined || attest === undefined || signature === undefined || written === undefined) {
    return undefined;
  }
  const between: Place[] = [];
  let from = 0;
  for (const place of [nonce, attest, signature].toSorted((a, b) => a.from - b.from)) {
    between.push({ from, to: place.from });
    from = place.to;
  }
  between.push({ from, to: text.length });
  return { bytes: Buffer.from(text), message, nonce, attest, signature, between, written };
}

/** Canonical JSON has these three in this order; each must stand once. */
function aroundIn(message: EvidenceMessage): Known['written'] | undefined {
  const { nonce, quote } = message;
  const [start, second, third, end, more] = [nonce, quote.attest, quote.signature].reduce<string[]>(
    (parts, content) => [...parts.slice(0, -1), ...(parts.at(-1) ?? '').split(`"${content}"`)],
    [canonicalize(message)],
  );
  if (start === undefined || second === undefined || third === undefined || end === undefined)
    return undefined;
  return more === undefined ? [`${start}"`, `"${second}"`, `"${third}"`, `"${end}`] : undefined;
}

/** Where the one string of the text with this content has it. */
function placeOf(text: Buffer, content: string): Place | undefined {
  const quoted = `"${content}"`;
  const at = text.indexOf(quoted);
  if (at === -1 || text.includes(quoted, at + 1)) return undefined;
  return { from: at + 1, to: at + 1 + content.length };
}
