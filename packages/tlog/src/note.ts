import { borrowBase64, concat, sameBytes, sha256, toBase64 } from '@kallio/codec';
import { tlogError } from './error.ts';

/** One signature line of a note: `— <name> base64(key id || signature)`. */
export interface NoteSignature {
  readonly name: string;
  /** First four bytes: which key of that name. A hint, not proof. */
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

/** A signed note (C2SP signed-note): a text that ends in a newline, and who signed it. */
export interface Note {
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** Longest note read, in characters: room for a head and 100 witnesses. */
const MAX_NOTE = 32 * 1024;
const MAX_SIGNATURES = 128;
const LINE = /^— (\S+) (\S+)$/u;

/** Parses a signed note; `LOG_NOTE_MALFORMED` when it is not one. Nothing is verified here. */
export function parseNote(note: string): Note {
  if (note.length > MAX_NOTE) throw malformed('it is too long');
  // A control character shows a person another text than a program reads.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for (signed-note section "Format").
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note) || !note.isWellFormed())
    throw malformed('it holds control characters');
  const split = note.lastIndexOf('\n\n');
  if (split < 1 || !note.endsWith('\n') || split === note.length - 2) {
    throw malformed('text and signatures are not parted by an empty line');
  }
  const lines = note.slice(split + 2, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw malformed('it has too many signatures');
  return { text: note.slice(0, split + 1), signatures: lines.map(parseLine) };
}

function parseLine(line: string): NoteSignature {
  const [, name, encoded] = LINE.exec(line) ?? [];
  if (name === undefined || encoded === undefined || name.includes('+'))
    throw malformed('a signature line is odd');
  const bytes = borrowBase64(encoded);
  if (bytes.length < 5) throw malformed('a signature is too short');
  return { name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

/** The note as text. */
export function formatNote(note: Note): string {
  return `${note.text}\n${note.signatures.map(formatSignature).join('')}`;
}

/** One signature line, with its newline. */
export function formatSignature({ name, keyId, signature }: NoteSignature): string {
  return `— ${name} ${toBase64(concat(keyId, signature))}\n`;
}

/** Key id of an ECDSA key: first four bytes of SHA-256(SPKI) (signed-note section "Signature types", 0x02). */
export function ecdsaKeyId(spki: Uint8Array): Uint8Array {
  return sha256(spki).slice(0, 4);
}

/** Whether a signature line claims to be by this key. */
export function isBy(line: NoteSignature, name: string, keyId: Uint8Array): boolean {
  return line.name === name && sameBytes(line.keyId, keyId);
}

function malformed(why: string) {
  return tlogError('LOG_NOTE_MALFORMED', `This is no signed note: ${why}.`);
}
