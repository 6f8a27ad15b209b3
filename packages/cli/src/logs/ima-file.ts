import { KallioError } from '@kallio/codec';
import { type ImaEntry, ImaLogReader, ImaTextReader } from '@kallio/evidence';
import { piecesOf } from '../files.ts';

/** `10 `, as every line of the ASCII list begins; the binary list begins with the number 10 in four bytes. */
const TEXT_START = [0x31, 0x30, 0x20];

/** The entries of a list in either form, read piece by piece. */
export function* imaEntriesOf(path: string): Generator<ImaEntry, void, undefined> {
  const pieces = piecesOf(path);
  const { value: first, done } = pieces.next();
  if (done === true || first === undefined) return;
  if (TEXT_START.every((byte, i) => first[i] === byte)) yield* textEntries(first, pieces);
  else yield* binaryEntries(first, pieces);
}

function* binaryEntries(first: Uint8Array, rest: Iterable<Uint8Array>): Generator<ImaEntry, void, undefined> {
  const reader = new ImaLogReader();
  yield* reader.push(first);
  for (const piece of rest) yield* reader.push(piece);
  reader.end();
}

function* textEntries(first: Uint8Array, rest: Iterable<Uint8Array>): Generator<ImaEntry, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const reader = new ImaTextReader();
  yield* reader.push(decoded(() => decoder.decode(first, { stream: true })));
  for (const piece of rest) yield* reader.push(decoded(() => decoder.decode(piece, { stream: true })));
  yield* reader.push(decoded(() => decoder.decode()));
  yield* reader.end();
}

function decoded(decode: () => string): string {
  try {
    return decode();
  } catch (cause) {
    throw new KallioError('IMA_MALFORMED', 'This list names a file by bytes that are no UTF-8.', {
      hint: 'Use binary_runtime_measurements.',
      cause,
    });
  }
}
